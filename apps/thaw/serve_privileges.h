// What `thaw serve` does while it is root, and how it stops being it.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "config.h"

namespace thaw::cli {

// Below the data folder, each a tmpfs: models, which outlive the daemon; snapshots in memory, which do not.
inline constexpr const char* kMemoryFolder = "/memory";
inline constexpr const char* kImageMemoryFolder = "/image-memory";

// Makes the data folder where it is missing. The lock is held while the daemon lives: one daemon a data folder. Errors:
// conflict when another daemon holds the folder, or when it holds something else.
Result<UniqueFd> lock_data(const ServeConfig& config);

// Gives the folder to the server half's user, mounts the memory of models there, and moves the process into a mount
// namespace of its own, which the spawner inherits. Nothing else may fail behind it that a user can mend: the mount
// stays. Returns where the server half finds the folder: config.data, or another place when others cannot pass there.
Result<std::string> enter_data(const ServeConfig& config);

// Becomes the configured user for good: no groups, no capabilities, no way back. Errors: internal.
Status drop_privileges(const ServeConfig& config);

}  // namespace thaw::cli
