// What has to be fetched for a model: asked of its store before the first byte. Internal to src/store.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "store/fetch.h"
#include "store/model_memory.h"
#include "store/model_uri.h"

namespace thaw::store {

struct ModelPlan {
  std::vector<FileToFetch> files;
  std::uint64_t bytes = 0;
  std::uint64_t memory_bytes = 0;  // the same in whole pages
  std::string fingerprint;         // as ModelRecord's
};

// Errors: as the store's; not_found for a folder without objects; too_large, invalid_argument.
Result<ModelPlan> plan_model(ports::ObjectStore& store, const ModelUri& uri, const std::string& sha256,
                             const FetchLimits& limits, FetchState& state);

}  // namespace thaw::store
