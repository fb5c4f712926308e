// The one implementation of ModelMemory: a folder, on a tmpfs that the daemon has mounted there.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "ports/object_store.h"
#include "store/fetch.h"
#include "store/model_memory.h"
#include "store/model_uri.h"

namespace thaw::store {

// Of a folder of objects; a single object counts as one.
inline constexpr std::size_t kModelFilesMax = 1024;

struct ModelMemoryOptions {
  // Asked before the first byte of a model is fetched, and for what an earlier daemon has left. It may call
  // drop_oldest_unused() in take(); that one gives back what it has freed.
  MemoryBudget& budget;
  // The store in which the address's key is looked up. The key that is asked for is the address's, so a store of files
  // is of the folder that the key is relative to.
  std::function<Result<std::shared_ptr<ports::ObjectStore>>(const ModelUri&)> open_store;
  FetchLimits fetch = {};
};

// Errors: internal when the folder cannot be used. What is damaged in it, or does not fit into the budget, is removed.
Result<std::unique_ptr<ModelMemory>> open_model_memory(std::string folder, ModelMemoryOptions options);

}  // namespace thaw::store
