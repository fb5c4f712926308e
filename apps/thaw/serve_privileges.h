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

struct PreparedData {
  UniqueFd lock;       // held while the daemon lives: one daemon a data folder
  std::string folder;  // where the server half finds it: config.data, or kDataMount when others cannot pass there
};

// Makes the data folder, locks it, gives it to the server half's user, and moves the process into a mount namespace of
// its own, which the spawner inherits. Errors: conflict when another daemon holds the folder, or when it holds
// something else.
Result<PreparedData> prepare_data(const ServeConfig& config);

// Becomes the configured user for good: no groups, no capabilities, no way back. Errors: internal.
Status drop_privileges(const ServeConfig& config);

}  // namespace thaw::cli
