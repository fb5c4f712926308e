// Control groups of environments, on cgroup v1, v2 and the mixtures of them that machines have.
//
// One parent group, named for the daemon's data folder, holds one group an environment in every hierarchy that is
// needed. Freezing and killing go through v2 wherever it is mounted, even as an empty hierarchy without controllers:
// there a frozen process dies of SIGKILL. Limits go to whichever hierarchy has the controller.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::sandbox {

// The throttling period. A function that has used its share waits for the rest of the period: at the kernel's usual
// 100 ms a 128 MB function (7 % of a CPU) would stall up to 93 ms, at 20 ms up to 19 ms. Shorter ones fall below the
// kernel's least quota (1 ms) for small functions.
inline constexpr std::uint32_t kCpuPeriodUs = 20'000;
inline constexpr std::uint32_t kCpuQuotaMinUs = 1'000;

enum CgroupRole : std::uint32_t {
  kRoleMemory = 1u << 0,
  kRoleCpu = 1u << 1,
  kRolePids = 1u << 2,
  kRoleFreeze = 1u << 3,
};

enum class CgroupVersion : std::uint8_t { v1, v2 };

// One mounted hierarchy and what it is used for.
struct CgroupMount {
  std::string base;  // the folder in which the parent group is made
  CgroupVersion version = CgroupVersion::v1;
  std::uint32_t roles = 0;
  std::uint32_t controllers = 0;  // roles whose controller it has

  bool operator==(const CgroupMount&) const = default;
};

struct CgroupView {
  std::string mountinfo;    // of /proc/self/mountinfo
  std::string self_cgroup;  // of /proc/self/cgroup
};

// Which hierarchies to use for what. Errors: `unsupported`, with what to do, when memory or pids cannot be limited or
// nothing can freeze; a machine without CPU limits is served unthrottled.
Result<std::vector<CgroupMount>> detect_cgroups(const CgroupView& view);
// The same for this process.
Result<std::vector<CgroupMount>> detect_cgroups();

struct CgroupLimits {
  std::uint64_t memory_bytes = 0;
  std::uint32_t pids_max = 0;
};

// The parent group with the groups below it. Names of groups are the spawner's own and hold no slash.
// Ownership: keeps the parent folders open; dropping it removes nothing. Threads: none of its own; not thread-safe.
class CgroupTree {
 public:
  // Makes the parent groups and enables the controllers below them.
  static Result<CgroupTree> create(std::vector<CgroupMount> mounts, const std::string& name);

  // Makes the group in the v2 hierarchy, so that a process can be born into it (CLONE_INTO_CGROUP). An invalid
  // descriptor when no v2 hierarchy is used.
  Result<UniqueFd> make_unified(const std::string& group) const;
  // Makes the group in the v1 hierarchies and moves the calling process into it there.
  Status make_and_join(const std::string& group) const;
  Status set_limits(const std::string& group, const CgroupLimits& limits) const;
  // The descriptors that the two above need, for a process that closes all others.
  std::vector<int> descriptors() const;

  struct Controls {
    std::uint32_t mask = 0;  // of protocol::kControl...
    std::vector<UniqueFd> files;
  };
  Result<Controls> open_controls(const std::string& group) const;

  // How many processes the kernel killed in it for want of memory.
  std::uint64_t oom_kills(const std::string& group) const;
  // Kills every process in it, frozen ones too. It returns before they are dead.
  void kill(const std::string& group) const;
  // Removes the group everywhere. False: still busy, try again a little later.
  bool remove(const std::string& group) const;

  // Groups below the parent, in any hierarchy.
  std::vector<std::string> groups() const;
  // Kills and removes every group, within wait_max_ms. False: something is left.
  bool sweep(std::uint32_t wait_max_ms) const;
  // Removes the parents; they must be empty.
  void remove_parents() const;

 private:
  struct Parent {
    CgroupMount mount;
    std::string path;
    UniqueFd folder;
  };
  const Parent* with_role(std::uint32_t role) const;

  std::vector<Parent> parents_;
};

// The quota of a share within kCpuPeriodUs.
constexpr std::uint32_t cpu_quota_us(std::uint32_t cpu_milli) {
  const std::uint64_t quota = std::uint64_t{cpu_milli} * kCpuPeriodUs / 1000;
  return quota < kCpuQuotaMinUs ? kCpuQuotaMinUs : static_cast<std::uint32_t>(quota);
}

}  // namespace thaw::sandbox
