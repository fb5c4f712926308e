// Reading /proc of a held process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

inline constexpr std::size_t kProcFileBytesMax = 64 << 20;

std::string proc_path(pid_t pid, std::string_view name);
Result<std::string> read_proc(pid_t pid, std::string_view name);
Result<std::string> read_link(const std::string& path);

// The value of "KEY: value" or "KEY:\tvalue" in text; nothing when there is no such line.
std::optional<std::string_view> value_of(std::string_view text, std::string_view key);
// The digits at the beginning of text, after blanks; 0 when there are none.
std::uint64_t number(std::string_view text, int base = 10);

// The identity of the file that `path` (or descriptor link) names, links followed.
Result<FileIdentity> identify(const std::string& path);
Result<FileIdentity> identify(int descriptor);
// What of it must still hold in a clone, where the file has this path. A file of the model is what the version's digest
// says, in whatever memory it lies by then; only its size is left.
FileIdentity lasting(const std::string& path, FileIdentity identity);

}  // namespace thaw::snapshot
