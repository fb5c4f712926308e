// The daemon's models: their stores, their memory, and the API to them, wired in one place.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "config.h"
#include "control/catalog.h"
#include "gateway/models_api.h"
#include "model_stores.h"
#include "pool/pool.h"
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
  // Where functions' packages may lie. As gateway::OpenBucket.
  Result<std::shared_ptr<ports::ObjectStore>> open_bucket(const std::string& bucket, const std::string& version);
  ModelStores& stores() { return *stores_; }

 private:
  explicit ServeModels(std::unique_ptr<ModelStores> stores) : stores_(std::move(stores)) {}

  std::unique_ptr<ModelStores> stores_;
  std::shared_ptr<ports::ObjectStore> objects_;
  std::unique_ptr<store::ModelMemory> memory_;
  std::unique_ptr<gateway::ModelsApi> api_;
};

// What models take comes out of the memory that the pool admits environments to. Ownership: borrows the pool, until
// leave(); what is given back later was of a daemon that ends.
class ModelBudget : public store::MemoryBudget {
 public:
  void use(pool::Pool& pool) { pool_ = &pool; }
  void leave() { pool_ = nullptr; }

  bool take(std::uint64_t bytes) override;
  void give_back(std::uint64_t bytes) override;

 private:
  std::atomic<pool::Pool*> pool_{nullptr};
};

}  // namespace thaw::cli
