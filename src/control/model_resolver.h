// What stands between a function that names a model and the memory that models lie in.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "control/catalog.h"
#include "model/function.h"
#include "store/model_memory.h"

namespace thaw::control {

// Ownership: borrows the memory. Threads: any; both calls do I/O, and may take as long as a fetch takes.
class ModelResolver {
 public:
  ModelResolver(store::ModelMemory& models, std::uint64_t memory_bytes_max)
      : models_(models), memory_bytes_max_(memory_bytes_max) {}

  // Looks at the model before its function is recorded; one with an address is fetched. Errors: those of
  // ModelMemory::fetch(); not_found when the package has no such file; invalid_argument and corrupt for a file that is
  // no GGUF, or is cut short; too_large when it and an environment do not fit into memory_max_mb together.
  Result<model::ResolvedModel> resolve(const Catalog::ModelQuestion& question);
  // The model of a function that is about to start, in memory. Errors: those of ModelMemory::fetch().
  Result<store::ModelHold> hold(const model::FunctionRecord& record);

 private:
  Status check_fits(const model::FunctionConfig& config, std::uint64_t bytes) const;

  store::ModelMemory& models_;
  const std::uint64_t memory_bytes_max_;
  std::mutex mutex_;
  std::unordered_map<std::string, std::string> package_digests_;  // by address; guarded by mutex_
};

}  // namespace thaw::control
