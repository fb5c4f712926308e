// doctor's checks of the kernel and the machine. What can be tried is tried, in a child process that ends at once.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "doctor.h"
#include "text.h"

namespace thaw::cli {
namespace {

constexpr long kCgroup2Magic = 0x63677270;  // CGROUP2_SUPER_MAGIC, linux/magic.h

// Runs a try in a child process; its result is errno, 0 for success, or -1 when the child died.
int try_in_child(const std::function<int()>& attempt) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) ::_exit(std::clamp(attempt(), 0, 255));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int errno_of(long result) { return result < 0 ? errno : 0; }
std::string why(int error) { return error < 0 ? "the try crashed" : std::strerror(error); }
bool is_root() { return ::geteuid() == 0; }

Check kernel() {
  utsname name{};
  ::uname(&name);
  int major = 0;
  int minor = 0;
  (void)std::sscanf(name.release, "%d.%d", &major, &minor);
  Check check{"kernel", Finding::ok, std::string(name.sysname) + " " + name.release + " " + name.machine};
  const int version = major * 1000 + minor;
  if (version < 5003) {
    check.finding = Finding::missing;
    check.advice = "Thaw needs Linux 5.3 (pidfd_open); upgrade the kernel";
  } else if (version < 5014) {
    check.finding = Finding::warning;
    check.advice = "from Linux 5.14 on environments end faster (cgroup.kill)";
  }
  return check;
}

bool has_capability(unsigned number) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("CapEff:")) return (std::stoull(line.substr(7), nullptr, 16) >> number & 1) != 0;
  }
  return false;
}

Check privileges() {
  if (!is_root()) {
    return {"privileges", Finding::warning, "not root: what needs root was not tried",
            "see everything with: sudo thaw doctor; and serve with: sudo thaw serve"};
  }
  struct Needed {
    unsigned number;
    const char* name;
  };
  constexpr Needed kNeeded[] = {{CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
                                {CAP_NET_ADMIN, "CAP_NET_ADMIN"},
                                {CAP_SETUID, "CAP_SETUID"},
                                {CAP_SETGID, "CAP_SETGID"},
                                {CAP_CHOWN, "CAP_CHOWN"},
                                {CAP_KILL, "CAP_KILL"},
                                {CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"}};
  std::string lacking;
  for (const Needed& needed : kNeeded) {
    if (!has_capability(needed.number)) lacking += (lacking.empty() ? "" : ", ") + std::string(needed.name);
  }
  if (lacking.empty()) return {"privileges", Finding::ok, "root, with every capability needed"};
  return {"privileges", Finding::missing, "root, but without " + lacking,
          "in a container, start it with: --privileged (or --cap-add for each)"};
}

Check namespaces() {
  if (!is_root()) return {"namespaces", Finding::warning, "not tried without root", "try: sudo thaw doctor"};
  struct Kind {
    int flag;
    const char* name;
  };
  constexpr Kind kKinds[] = {{CLONE_NEWPID, "PID"},
                             {CLONE_NEWNS, "mount"},
                             {CLONE_NEWNET, "network"},
                             {CLONE_NEWIPC, "IPC"},
                             {CLONE_NEWUTS, "UTS"}};
  std::string lacking;
  int error = 0;
  for (const Kind& kind : kKinds) {
    const int result = try_in_child([&] { return errno_of(::unshare(kind.flag)); });
    if (result == 0) continue;
    error = result;
    lacking += (lacking.empty() ? "" : ", ") + std::string(kind.name);
  }
  if (lacking.empty()) return {"namespaces", Finding::ok, "PID, mount, network, IPC, UTS"};
  return {"namespaces", Finding::missing, "cannot make: " + lacking + " (" + why(error) + ")",
          "in a container, allow unshare(2): --privileged, or a seccomp profile that permits it"};
}

Check mounts() {
  if (!is_root()) return {"mounts", Finding::warning, "not tried without root", "try: sudo thaw doctor"};
  const int result = try_in_child([] {
    if (::unshare(CLONE_NEWNS) != 0) return errno;
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
    if (::mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m") != 0) return errno;
    return errno_of(::mount("/usr", "/tmp", nullptr, MS_BIND | MS_REC, nullptr));
  });
  if (result == 0) return {"mounts", Finding::ok, "tmpfs and bind mounts in a namespace of their own"};
  return {"mounts", Finding::missing, "cannot mount: " + why(result),
          "in a container, allow mount(2): --privileged, or an AppArmor profile that permits it"};
}

struct CgroupMount {
  std::string path;
  std::set<std::string> options;
  bool unified = false;
};

std::vector<CgroupMount> cgroup_mounts() {
  std::vector<CgroupMount> found;
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string source, path, type, options;
    fields >> source >> path >> type >> options;
    if (type != "cgroup" && type != "cgroup2") continue;
    CgroupMount mount{path, {}, type == "cgroup2"};
    std::istringstream list(options);
    for (std::string option; std::getline(list, option, ',');) mount.options.insert(option);
    found.push_back(std::move(mount));
  }
  return found;
}

// Where a controller can be used: the path of its hierarchy, or "".
std::string controller_path(const std::vector<CgroupMount>& mounts, const std::string& controller) {
  for (const CgroupMount& mount : mounts) {
    if (mount.unified) {
      std::ifstream in(mount.path + "/cgroup.controllers");
      for (std::string word; in >> word;) {
        if (word == controller) return mount.path;
      }
    } else if (mount.options.contains(controller)) {
      return mount.path;
    }
  }
  return "";
}

int try_make_group(const std::string& hierarchy) {
  const std::string path = hierarchy + "/thaw-doctor-" + std::to_string(::getpid());
  if (::mkdir(path.c_str(), 0755) != 0) return errno;
  return errno_of(::rmdir(path.c_str()));
}

Check cgroups() {
  const std::vector<CgroupMount> mounts = cgroup_mounts();
  std::set<std::string> paths;
  std::string lacking;
  bool any_unified = false;
  bool any_v1 = false;
  for (const char* controller : {"memory", "cpu", "pids"}) {
    const std::string path = controller_path(mounts, controller);
    if (path.empty()) {
      lacking += (lacking.empty() ? "" : ", ") + std::string(controller);
      continue;
    }
    paths.insert(path);
    for (const CgroupMount& mount : mounts) {
      if (mount.path == path) (mount.unified ? any_unified : any_v1) = true;
    }
  }
  const bool has_unified = std::any_of(mounts.begin(), mounts.end(), [](const CgroupMount& m) { return m.unified; });
  const std::string freezer = controller_path(mounts, "freezer");
  std::string detail =
      std::string(any_unified ? "v2" : "") + (any_unified && any_v1 ? " and " : "") + (any_v1 ? "v1" : "");
  detail += (detail.empty() ? "" : "; ") + std::string("frozen by ") +
            (has_unified       ? "cgroup.freeze"
             : freezer.empty() ? "nothing"
                               : "the v1 freezer");
  if (!lacking.empty()) {
    return {"cgroups", Finding::missing, detail + "; lacks controllers: " + lacking,
            mounts.empty() ? "mount one: mount -t cgroup2 none /sys/fs/cgroup"
                           : "enable them at boot (cgroup_enable=memory), or in the parent's cgroup.subtree_control"};
  }
  if (!has_unified && freezer.empty()) {
    return {"cgroups", Finding::missing, detail,
            "mount cgroup2 anywhere: mount -t cgroup2 none /sys/fs/cgroup/unified"};
  }
  if (!is_root()) return {"cgroups", Finding::ok, detail + "; making groups was not tried without root"};
  if (!has_unified) paths.insert(freezer);
  for (const std::string& path : paths) {
    if (const int error = try_make_group(path); error != 0) {
      return {"cgroups", Finding::missing, detail + "; cannot make a group in " + path + ": " + why(error),
              "mount it writable; in a container: --privileged, or --cgroupns=private with a writable /sys/fs/cgroup"};
    }
  }
  return {"cgroups", Finding::ok, detail};
}

Check seccomp() {
  const std::uint32_t action = SECCOMP_RET_ERRNO;
  if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0) {
    return {"seccomp", Finding::ok, "filters with errno"};
  }
  return {"seccomp", Finding::missing, std::string("no filters: ") + std::strerror(errno),
          "use a kernel built with CONFIG_SECCOMP_FILTER"};
}

Check ptrace_allowed() {
  const int result = try_in_child([] {
    const pid_t child = ::fork();
    if (child < 0) return errno;
    if (child == 0) {
      ::pause();
      ::_exit(0);
    }
    const int error = errno_of(::ptrace(PTRACE_SEIZE, child, nullptr, nullptr));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return error;
  });
  if (result == 0) return {"ptrace", Finding::ok, "processes can be traced"};
  return {"ptrace", Finding::warning, "no tracing: " + why(result),
          "snapshots need it; in a container: --cap-add SYS_PTRACE, or set kernel.yama.ptrace_scope to 1"};
}

Check userfaultfd() {
  const long fd = ::syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
  if (fd >= 0) {
    ::close(static_cast<int>(fd));
    return {"userfaultfd", Finding::ok, "pages can be fetched on fault"};
  }
  return {"userfaultfd", Finding::warning, std::string("not available: ") + std::strerror(errno),
          "restores then wait for the whole snapshot; use a kernel with CONFIG_USERFAULTFD"};
}

Check memory() {
  struct sysinfo info {};
  ::sysinfo(&info);
  const std::uint64_t total_mb = machine_memory_mb();
  std::uint64_t available_mb = static_cast<std::uint64_t>(info.freeram) * info.mem_unit >> 20;
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("MemAvailable:")) available_mb = std::stoull(line.substr(13)) >> 10;
  }
  available_mb = std::min(available_mb, total_mb);
  Check check{"memory", Finding::ok,
              std::to_string(total_mb) + " MB for thaw, " + std::to_string(available_mb) + " MB of it free"};
  if (total_mb < 512) {
    check.finding = Finding::missing;
    check.advice = "at least 512 MB are needed for one small function";
  } else if (available_mb < 1024) {
    check.finding = Finding::warning;
    check.advice = "little room for functions; an engine takes about 1800 MB each";
  }
  return check;
}

Check clock() {
  const std::time_t now = std::time(nullptr);
  constexpr std::time_t kYear2024 = 1704067200;
  if (now < kYear2024) {
    return {"clock", Finding::warning, "the clock stands before 2024", "set it: timedatectl set-ntp true"};
  }
  struct timex state {};
  const int result = ::adjtimex(&state);
  const bool synchronised = result >= 0 && (state.status & STA_UNSYNC) == 0;
  return {"clock", Finding::ok, synchronised ? "set, and kept by NTP" : "set; whether NTP keeps it is not known here"};
}

}  // namespace

std::vector<Check> machine_checks() {
  return {kernel(),  privileges(),     namespaces(),  mounts(), cgroups(),
          seccomp(), ptrace_allowed(), userfaultfd(), memory(), clock()};
}

}  // namespace thaw::cli
