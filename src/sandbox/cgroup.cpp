#include "sandbox/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <set>
#include <sstream>

#include "base/sys.h"
#include "sandbox/protocol.h"

namespace thaw::sandbox {
namespace {

constexpr std::size_t kCgroupFileBytesMax = 1 << 20;

Status write_file(const UniqueFd& folder, const std::string& path, std::string_view text) {
  ASSIGN_OR_RETURN(const UniqueFd file, sys::openat(folder, path, O_WRONLY));
  // A cgroup file takes one write; a second one would be another command.
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return sys::errno_error(path);
  }
  return {};
}

// For files that kernels may lack.
Status write_if_there(const UniqueFd& folder, const std::string& path, std::string_view text) {
  Status status = write_file(folder, path, text);
  if (!status.ok() && status.error().kind == ErrorKind::not_found) return {};
  return status;
}

std::string read_file(const UniqueFd& folder, const std::string& path) {
  auto file = sys::openat(folder, path, O_RDONLY);
  if (!file.ok()) return {};
  auto text = sys::read_fd(*file, kCgroupFileBytesMax, path);
  return text.ok() ? std::move(text).value() : std::string();
}

// The number after "key " in a file of lines "key number".
std::uint64_t value_of(const std::string& text, std::string_view key) {
  std::istringstream words(text);
  std::string word;
  std::uint64_t value = 0;
  while (words >> word >> value) {
    if (word == key) return value;
  }
  return 0;
}

std::vector<pid_t> processes_of(const UniqueFd& folder, const std::string& group) {
  std::vector<pid_t> pids;
  std::istringstream text(read_file(folder, group + "/cgroup.procs"));
  for (pid_t pid = 0; text >> pid;) {
    if (pid > 1) pids.push_back(pid);
  }
  return pids;
}

std::vector<std::string> folders_in(const UniqueFd& folder) {
  std::vector<std::string> names;
  const int copy = ::openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return names;
  DIR* entries = ::fdopendir(copy);
  if (entries == nullptr) {
    ::close(copy);
    return names;
  }
  while (const dirent* entry = ::readdir(entries)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(entries);
  return names;
}

// v2 gives a group controllers for its children only while it has no processes of its own (cgroup v2, "No Internal
// Process Constraint"); in a container or a delegated group, ours and its neighbours first move into a leaf.
Status enable_controllers(const CgroupMount& mount, const UniqueFd& folder, const std::string& leaf) {
  static constexpr struct {
    std::uint32_t role;
    const char* word;
  } kWords[] = {{kRoleMemory, "+memory"}, {kRoleCpu, "+cpu"}, {kRolePids, "+pids"}};
  for (const auto& [role, word] : kWords) {
    if ((mount.controllers & role) == 0) continue;
    Status status = write_file(folder, "cgroup.subtree_control", word);
    if (status.ok()) continue;
    if (!leaf.empty() && !processes_of(folder, ".").empty()) {
      if (::mkdirat(folder.get(), leaf.c_str(), 0755) != 0 && errno != EEXIST) return sys::errno_error(leaf);
      for (const pid_t pid : processes_of(folder, ".")) {
        (void)write_file(folder, leaf + "/cgroup.procs", std::to_string(pid));
      }
      status = write_file(folder, "cgroup.subtree_control", word);
    }
    if (!status.ok()) {
      return Error{ErrorKind::unsupported, std::string("the cgroup controller ") + (word + 1) + " cannot be enabled (" +
                                               status.error().message + ")"};
    }
  }
  return {};
}

// Where the machine's processes are not in groups (a container, a machine without systemd), each of them weighs as much
// as our whole parent group, and a burst of starts would crawl on a busy machine. There the parent weighs like a few
// processes a CPU. Beside systemd's slices it keeps the weight of one.
void set_weight(const CgroupMount& mount, const UniqueFd& folder) {
  constexpr long kProcessesPerCpu = 4;
  if ((mount.roles & kRoleCpu) == 0) return;
  const auto base = sys::open(mount.base, O_RDONLY | O_DIRECTORY);
  if (!base.ok()) return;
  const std::vector<pid_t> beside = processes_of(*base, ".");
  if (std::find(beside.begin(), beside.end(), ::getpid()) == beside.end()) return;
  const long processes = kProcessesPerCpu * std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN));
  if (mount.version == CgroupVersion::v2) {
    (void)write_if_there(folder, "cpu.weight", std::to_string(std::min(100 * processes, 10'000L)));
  } else {
    (void)write_if_there(folder, "cpu.shares", std::to_string(std::min(1024 * processes, 262'144L)));
  }
}

}  // namespace

Result<CgroupTree> CgroupTree::create(std::vector<CgroupMount> mounts, const std::string& name) {
  CgroupTree tree;
  for (CgroupMount& mount : mounts) {
    Parent parent{.path = mount.base + "/" + name};
    if (mount.version == CgroupVersion::v2 && mount.controllers != 0) {
      ASSIGN_OR_RETURN(const UniqueFd base, sys::open(mount.base, O_RDONLY | O_DIRECTORY));
      RETURN_IF_ERROR(enable_controllers(mount, base, name + ".daemon"));
    }
    if (::mkdir(parent.path.c_str(), 0755) != 0 && errno != EEXIST) return sys::errno_error(parent.path);
    ASSIGN_OR_RETURN(parent.folder, sys::open(parent.path, O_RDONLY | O_DIRECTORY));
    if (mount.version == CgroupVersion::v2) {
      RETURN_IF_ERROR(enable_controllers(mount, parent.folder, ""));
    } else if ((mount.roles & kRoleMemory) != 0) {
      (void)write_if_there(parent.folder, "memory.use_hierarchy", "1");
    }
    set_weight(mount, parent.folder);
    parent.mount = std::move(mount);
    tree.parents_.push_back(std::move(parent));
  }
  return tree;
}

const CgroupTree::Parent* CgroupTree::with_role(std::uint32_t role) const {
  for (const Parent& parent : parents_) {
    if ((parent.mount.roles & role) != 0) return &parent;
  }
  return nullptr;
}

Result<UniqueFd> CgroupTree::make_unified(const std::string& group) const {
  for (const Parent& parent : parents_) {
    if (parent.mount.version != CgroupVersion::v2) continue;
    if (::mkdirat(parent.folder.get(), group.c_str(), 0755) != 0 && errno != EEXIST) return sys::errno_error(group);
    return sys::openat(parent.folder, group, O_RDONLY | O_DIRECTORY);
  }
  return UniqueFd();
}

Status CgroupTree::make_and_join(const std::string& group) const {
  for (const Parent& parent : parents_) {
    if (parent.mount.version == CgroupVersion::v2) continue;
    if (::mkdirat(parent.folder.get(), group.c_str(), 0755) != 0 && errno != EEXIST) return sys::errno_error(group);
    if ((parent.mount.roles & kRoleCpu) != 0) {
      RETURN_IF_ERROR(write_if_there(parent.folder, group + "/cpu.cfs_period_us", std::to_string(kCpuPeriodUs)));
    }
    RETURN_IF_ERROR(write_file(parent.folder, group + "/cgroup.procs", "0"));
  }
  return {};
}

Status CgroupTree::set_limits(const std::string& group, const CgroupLimits& limits) const {
  const std::string memory = std::to_string(limits.memory_bytes);
  for (const Parent& parent : parents_) {
    const bool v2 = parent.mount.version == CgroupVersion::v2;
    if ((parent.mount.roles & kRoleMemory) != 0 && v2) {
      RETURN_IF_ERROR(write_file(parent.folder, group + "/memory.max", memory));
      RETURN_IF_ERROR(write_if_there(parent.folder, group + "/memory.swap.max", "0"));
      RETURN_IF_ERROR(write_if_there(parent.folder, group + "/memory.oom.group", "1"));
    }
    if ((parent.mount.roles & kRoleMemory) != 0 && !v2) {
      RETURN_IF_ERROR(write_file(parent.folder, group + "/memory.limit_in_bytes", memory));
      RETURN_IF_ERROR(write_if_there(parent.folder, group + "/memory.memsw.limit_in_bytes", memory));
    }
    if ((parent.mount.roles & kRolePids) != 0) {
      // One more for PID 1, which is ours.
      RETURN_IF_ERROR(write_file(parent.folder, group + "/pids.max", std::to_string(limits.pids_max + 1)));
    }
  }
  return {};
}

std::vector<int> CgroupTree::descriptors() const {
  std::vector<int> fds;
  for (const Parent& parent : parents_) fds.push_back(parent.folder.get());
  return fds;
}

Result<CgroupTree::Controls> CgroupTree::open_controls(const std::string& group) const {
  Controls controls;
  const auto add = [&](const Parent* parent, const char* file, int flags, std::uint32_t bit) {
    if (parent == nullptr) return false;
    auto opened = sys::openat(parent->folder, group + "/" + file, flags);
    if (!opened.ok()) return false;
    controls.mask |= bit;
    controls.files.push_back(std::move(opened).value());
    return true;
  };
  // In the order of the mask's bits.
  const Parent* freeze = with_role(kRoleFreeze);
  const bool freezable = freeze->mount.version == CgroupVersion::v2
                             ? add(freeze, "cgroup.freeze", O_RDWR, protocol::kControlFreezeV2)
                             : add(freeze, "freezer.state", O_RDWR, protocol::kControlFreezeV1);
  if (!freezable) return Error{ErrorKind::unsupported, "this kernel's cgroups cannot freeze"};
  const Parent* cpu = with_role(kRoleCpu);
  if (cpu != nullptr && cpu->mount.version == CgroupVersion::v2) {
    add(cpu, "cpu.max", O_RDWR, protocol::kControlCpuV2);
  } else {
    add(cpu, "cpu.cfs_quota_us", O_RDWR, protocol::kControlCpuV1);
  }
  const Parent* memory = with_role(kRoleMemory);
  const bool v1 = memory->mount.version == CgroupVersion::v1;
  if (!add(memory, v1 ? "memory.max_usage_in_bytes" : "memory.peak", O_RDONLY, protocol::kControlMemoryPeak)) {
    add(memory, v1 ? "memory.usage_in_bytes" : "memory.current", O_RDONLY, protocol::kControlMemoryCurrent);
  }
  return controls;
}

std::uint64_t CgroupTree::oom_kills(const std::string& group) const {
  const Parent* memory = with_role(kRoleMemory);
  if (memory == nullptr) return 0;
  const bool v1 = memory->mount.version == CgroupVersion::v1;
  return value_of(read_file(memory->folder, group + (v1 ? "/memory.oom_control" : "/memory.events")), "oom_kill");
}

void CgroupTree::kill(const std::string& group) const {
  for (const Parent& parent : parents_) {
    if (parent.mount.version == CgroupVersion::v2) {
      if (write_file(parent.folder, group + "/cgroup.kill", "1").ok()) continue;
      (void)write_file(parent.folder, group + "/cgroup.freeze", "0");
    } else if ((parent.mount.roles & kRoleFreeze) != 0) {
      // SIGKILL does nothing while the v1 freezer holds.
      (void)write_file(parent.folder, group + "/freezer.state", "THAWED");
    }
    for (const pid_t pid : processes_of(parent.folder, group)) ::kill(pid, SIGKILL);
  }
}

bool CgroupTree::remove(const std::string& group) const {
  bool removed = true;
  for (const Parent& parent : parents_) {
    if (::unlinkat(parent.folder.get(), group.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) removed = false;
  }
  return removed;
}

std::vector<std::string> CgroupTree::groups() const {
  std::set<std::string> names;
  for (const Parent& parent : parents_) {
    for (std::string& name : folders_in(parent.folder)) names.insert(std::move(name));
  }
  return {names.begin(), names.end()};
}

bool CgroupTree::sweep(std::uint32_t wait_max_ms) const {
  for (std::uint32_t waited_ms = 0;; ++waited_ms) {
    bool clean = true;
    for (const std::string& group : groups()) {
      if (remove(group)) continue;
      // Again and again: a process may have been moved in or forked meanwhile.
      if (waited_ms % 10 == 0) kill(group);
      clean = false;
    }
    if (clean) return true;
    if (waited_ms >= wait_max_ms) return false;
    const timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

void CgroupTree::remove_parents() const {
  for (const Parent& parent : parents_) ::rmdir(parent.path.c_str());
}

}  // namespace thaw::sandbox
