// A folder as an object store: keys are paths below it. Links are followed as long as they stay below it.
//
// An object's ETag is made of its size, its time of change and its inode. Objects are written beside their place and
// renamed into it, so that a reader sees the old one or the new one.
#pragma once

#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "ports/object_store.h"

namespace thaw::adapters {

// folder: O_PATH or O_RDONLY of a folder; becomes the store's. prefix: what every key begins with instead of being
// relative to the folder, like "/srv/models/"; keys without it are refused.
std::shared_ptr<ports::ObjectStore> open_folder_store(UniqueFd folder, std::string prefix = {});
Result<std::shared_ptr<ports::ObjectStore>> open_folder_store(const std::string& path);

}  // namespace thaw::adapters
