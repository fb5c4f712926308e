#include "serve_models.h"

#include <fcntl.h>

#include "adapters/folder/folder_store.h"
#include "base/log.h"
#include "base/sys.h"

namespace thaw::cli {
namespace {

// A package's files, which stay while the store does.
struct HeldPackage {
  std::shared_ptr<ports::ObjectStore> store;
  std::shared_ptr<const void> hold;
};

Result<std::shared_ptr<ports::ObjectStore>> open_package(control::Catalog& catalog, const std::string& code_sha256) {
  ASSIGN_OR_RETURN(control::Catalog::PackageHold held, catalog.hold_package(code_sha256));
  auto package = std::make_shared<HeldPackage>();
  package->store = adapters::open_folder_store(std::move(held.folder));
  package->hold = std::move(held.hold);
  return std::shared_ptr<ports::ObjectStore>(package, package->store.get());
}

}  // namespace

Result<std::unique_ptr<ModelStores>> load_model_stores(const ServeConfig& config) {
  ASSIGN_OR_RETURN(StoreSettings settings, load_store_settings(process_sources({}, {}).environment));
  auto stores = std::make_unique<ModelStores>(std::move(settings));
  if (stores->s3_problem()) log::warn("s3_not_usable reason={}", stores->s3_problem()->message);
  for (const std::string& path : config.models) {
    auto folder = sys::open(path, O_PATH | O_DIRECTORY);
    if (!folder.ok()) return invalid_argument("models: " + folder.error().message);
    stores->add_folder(std::move(*folder), path);
  }
  return stores;
}

Result<std::unique_ptr<ServeModels>> ServeModels::open(const ServeConfig& config, std::unique_ptr<ModelStores> stores,
                                                       const Options& options) {
  std::unique_ptr<ServeModels> models(new ServeModels(std::move(stores)));
  const std::string objects = options.data_folder + "/objects";
  RETURN_IF_ERROR(sys::make_directories(objects));
  if (config.models.empty()) {
    ASSIGN_OR_RETURN(UniqueFd folder, sys::open(objects, O_PATH | O_DIRECTORY));
    models->stores_->add_folder(std::move(folder), config.data + "/objects");
  }
  ASSIGN_OR_RETURN(models->objects_, adapters::open_folder_store(objects));
  store::ModelMemoryOptions memory_options{
      .budget = options.budget,
      .open_store = [stores = models->stores_.get(), &catalog = options.catalog](const store::ModelUri& uri) {
        return uri.scheme == store::ModelScheme::package ? open_package(catalog, uri.place) : stores->open(uri);
      }};
  ASSIGN_OR_RETURN(models->memory_, store::open_model_memory(options.memory_folder, std::move(memory_options)));
  gateway::ModelsApiOptions api_options;
  api_options.objects_folder = objects;
  api_options.upload_bytes_max = config.upload_max_mb << 20;
  api_options.data_folder = config.data;
  models->api_ = std::make_unique<gateway::ModelsApi>(*models->memory_, *models->objects_, api_options);
  return models;
}

Result<std::shared_ptr<ports::ObjectStore>> ServeModels::open_bucket(const std::string& bucket,
                                                                     const std::string& version) {
  store::ModelUri uri;
  uri.scheme = store::ModelScheme::s3;
  uri.place = bucket;
  uri.revision = version;
  return stores_->open(uri);
}

bool ModelBudget::take(std::uint64_t bytes) {
  pool::Pool* const pool = pool_;
  return pool != nullptr && pool->model_budget().take(bytes);
}

void ModelBudget::give_back(std::uint64_t bytes) {
  if (pool::Pool* const pool = pool_) pool->model_budget().give_back(bytes);
}

}  // namespace thaw::cli
