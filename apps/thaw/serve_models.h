// The daemon's models: their stores, their memory, and the API to them, wired in one place.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "config.h"
#include "control/catalog.h"
#include "gateway/models_api.h"
#include "model_stores.h"
#include "store/open_model_memory.h"

namespace thaw::cli {

// What must be read while the process is root: credentials files, and folders that others cannot pass to. Errors:
// invalid_argument names the variable, file or folder.
Result<std::unique_ptr<ModelStores>> load_model_stores(const ServeConfig& config);

// Ownership: borrows catalog and budget, which outlive it. Threads: any, once it is open.
class ServeModels {
 public:
  struct Options {
    std::string data_folder;    // as this process finds it
    std::string memory_folder;  // where models are kept: a tmpfs
    control::Catalog& catalog;
    store::MemoryBudget& budget;
  };
  static Result<std::unique_ptr<ServeModels>> open(const ServeConfig& config, std::unique_ptr<ModelStores> stores,
                                                   const Options& options);

  store::ModelMemory& memory() { return *memory_; }
  gateway::ModelsApi& api() { return *api_; }

 private:
  explicit ServeModels(std::unique_ptr<ModelStores> stores) : stores_(std::move(stores)) {}

  std::unique_ptr<ModelStores> stores_;
  std::shared_ptr<ports::ObjectStore> objects_;
  std::unique_ptr<store::ModelMemory> memory_;
  std::unique_ptr<gateway::ModelsApi> api_;
};

// A budget of models alone: bytes up to a bound; the models that are unused longest make room.
class ModelBudget : public store::MemoryBudget {
 public:
  explicit ModelBudget(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}
  // Before the first take() that may need room; null: nothing makes any.
  void use(store::ModelMemory* memory) { memory_ = memory; }

  bool take(std::uint64_t bytes) override;
  void give_back(std::uint64_t bytes) override;

 private:
  bool take_free(std::uint64_t bytes);

  const std::uint64_t bytes_max_;
  std::atomic<std::uint64_t> taken_{0};
  std::atomic<store::ModelMemory*> memory_{nullptr};
};

}  // namespace thaw::cli
