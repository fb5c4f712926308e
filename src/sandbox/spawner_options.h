// What `thaw serve` tells the spawner when it starts it: the spawner's own specification. Everything about users,
// mounts and limits that a request cannot choose is here.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::sandbox {

// User ids of environments: each daemon has a range of its own, chosen by its cgroup name, so that the environments of
// two daemons do not share a user's limits. systemd keeps this part of the range free of its own uses (systemd, "Users,
// Groups, UIDs and GIDs on systemd systems": 1879048192 to 2147483647 is unused).
inline constexpr uid_t kUidFirst = 1'900'000'000;
inline constexpr std::uint32_t kUidRanges = 16'384;  // of kSlotsMaxLimit ids each
inline constexpr std::uint32_t kSlotsMaxDefault = 2048;
inline constexpr std::uint32_t kSlotsMaxLimit = 4096;
inline constexpr std::uint32_t kPreparedDefault = 4;
inline constexpr std::uint32_t kPreparedMax = 256;
inline constexpr std::uint32_t kFreezeSecondsDefault = 120;
inline constexpr std::uint32_t kFreezeSecondsMax = 86'400;

struct SpawnerOptions {
  std::string spawner_path;  // the program thaw-spawner
  std::string stub_path;     // the program thaw-stub
  std::string egress_program = "/usr/bin/slirp4netns";
  std::string engine_folder;  // bound at /opt/thaw for environments with an engine; empty: no engines
  // Names this daemon's cgroups; two daemons with different data folders have different names. See cgroup_name_for.
  std::string cgroup_name;
  uid_t uid_base = 0;                          // 0: by cgroup_name, see uid_base_for
  std::uint32_t slots_max = kSlotsMaxDefault;  // environments at a time; each has the user id uid_base + slot
  // Environments kept prepared for the next starts: each waits with its namespaces made and its cgroups joined, about
  // 1 MB of kernel and process memory. 0: every start prepares its own.
  std::uint32_t prepared = kPreparedDefault;
  // A freeze may take so long, and a second more for each 100 MB that its function may have; then it is ended.
  std::uint32_t freeze_s = kFreezeSecondsDefault;
  std::string log_level = "info";
};

// FNV-1a (Fowler, Noll, Vo), 64 bits: for what is short and no secret.
std::uint64_t hash_of(std::string_view text);
// "thaw-" and 12 hexadecimal digits that stand for the data folder.
std::string cgroup_name_for(const std::string& data_folder);

// The first user id of the range that belongs to a cgroup name.
uid_t uid_base_for(std::string_view cgroup_name);

// The command line of the spawner, its name first, and back. socket_fd is the descriptor it inherits.
std::vector<std::string> to_arguments(const SpawnerOptions& options, int socket_fd);
struct SpawnerArguments {
  SpawnerOptions options;
  int socket_fd = -1;
};
// Errors: invalid_argument, naming what is wrong.
Result<SpawnerArguments> parse_arguments(const std::vector<std::string>& arguments);

}  // namespace thaw::sandbox
