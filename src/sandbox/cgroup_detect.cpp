#include <sys/xattr.h>

#include <algorithm>
#include <sstream>

#include "base/sys.h"
#include "sandbox/cgroup.h"

namespace thaw::sandbox {
namespace {

constexpr std::size_t kProcFileBytesMax = 4 << 20;

struct Line {
  std::string mount_point;
  std::string type;
  std::string super_options;
};

// proc_pid_mountinfo(5): ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPER_OPTIONS
std::vector<Line> cgroup_lines(const std::string& mountinfo) {
  std::vector<Line> lines;
  std::istringstream text(mountinfo);
  for (std::string line; std::getline(text, line);) {
    std::istringstream words(line);
    Line found;
    std::string word;
    words >> word >> word >> word >> word >> found.mount_point >> word;
    while (words >> word && word != "-") {
    }
    if (words >> found.type >> word >> found.super_options && found.type.starts_with("cgroup")) lines.push_back(found);
  }
  return lines;
}

bool has_word(const std::string& list, char separator, std::string_view wanted) {
  std::istringstream text(list);
  for (std::string word; std::getline(text, word, separator);) {
    if (word == wanted) return true;
  }
  return false;
}

std::uint32_t controllers_in(std::string list, char separator) {
  std::erase(list, '\n');
  std::uint32_t found = 0;
  if (has_word(list, separator, "memory")) found |= kRoleMemory;
  if (has_word(list, separator, "cpu")) found |= kRoleCpu;
  if (has_word(list, separator, "pids")) found |= kRolePids;
  if (has_word(list, separator, "freezer")) found |= kRoleFreeze;
  return found;
}

// systemd marks a group that it has made over to a service with this attribute (systemd.resource-control(5),
// "Delegate="); below it we are at home, beside it we are not.
bool is_delegated(const std::string& folder) {
  for (const char* name : {"user.delegate", "trusted.delegate"}) {
    char value = 0;
    if (::getxattr(folder.c_str(), name, &value, 1) == 1 && value == '1') return true;
  }
  return false;
}

std::string unified_base(const std::string& mount_point, const std::string& self_cgroup) {
  std::istringstream text(self_cgroup);
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with("0::/") || line == "0::/") continue;
    const std::string own = mount_point + line.substr(3);
    if (is_delegated(own)) return own;
  }
  return mount_point;
}

}  // namespace

Result<std::vector<CgroupMount>> detect_cgroups(const CgroupView& view) {
  const std::vector<Line> lines = cgroup_lines(view.mountinfo);
  std::vector<CgroupMount> mounts;
  std::uint32_t missing = kRoleMemory | kRoleCpu | kRolePids | kRoleFreeze;
  // v2 first: what it can do, it does.
  for (const Line& line : lines) {
    if (line.type != "cgroup2") continue;
    CgroupMount mount{.base = unified_base(line.mount_point, view.self_cgroup), .version = CgroupVersion::v2};
    const auto controllers = sys::read_file(mount.base + "/cgroup.controllers", kProcFileBytesMax);
    if (!controllers.ok()) continue;
    mount.controllers = controllers_in(*controllers, ' ') & ~kRoleFreeze;
    mount.roles = mount.controllers | kRoleFreeze;
    missing &= ~mount.roles;
    mounts.push_back(mount);
    break;
  }
  for (const Line& line : lines) {
    if (line.type != "cgroup") continue;
    CgroupMount mount{.base = line.mount_point, .version = CgroupVersion::v1};
    mount.controllers = controllers_in(line.super_options, ',');
    mount.roles = mount.controllers & missing;
    if (mount.roles == 0) continue;
    missing &= ~mount.roles;
    mounts.push_back(mount);
  }

  const auto lacking = [](const char* what) {
    return Error{ErrorKind::unsupported,
                 std::string("no cgroup hierarchy can ") + what +
                     ": mount cgroup v2 at /sys/fs/cgroup, or give Thaw a group with the memory and pids controllers"};
  };
  if ((missing & kRoleFreeze) != 0) return lacking("freeze processes");
  if ((missing & kRoleMemory) != 0) return lacking("limit memory");
  if ((missing & kRolePids) != 0) return lacking("limit the number of processes");
  return mounts;
}

Result<std::vector<CgroupMount>> detect_cgroups() {
  ASSIGN_OR_RETURN(std::string mountinfo, sys::read_file("/proc/self/mountinfo", kProcFileBytesMax));
  ASSIGN_OR_RETURN(std::string self_cgroup, sys::read_file("/proc/self/cgroup", kProcFileBytesMax));
  return detect_cgroups(CgroupView{.mountinfo = std::move(mountinfo), .self_cgroup = std::move(self_cgroup)});
}

}  // namespace thaw::sandbox
