#include "serve_features.h"

#include <algorithm>
#include <thread>

#include "adapters/sqlite/online_store.h"
#include "base/sys.h"

namespace thaw::cli {
namespace {

// Reads of the embedded store are shorter than the way to another thread and back, up to about here.
constexpr std::size_t kInlineRowsMax = 64;

// An online store, and how many of its rows are read without leaving the loop.
struct OpenedStore {
  std::unique_ptr<ports::OnlineStore> store;
  std::size_t inline_rows_max = 0;
};

Result<OpenedStore> open_online_store(const std::string& what, const std::string& folder) {
  if (what != "embedded") return invalid_argument("features_online_store: must be embedded");
  adapters::EmbeddedOnlineStoreOptions options;
  options.readers = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, 16);
  OpenedStore opened;
  ASSIGN_OR_RETURN(opened.store, adapters::open_embedded_online_store(folder + "/online.db", options));
  opened.inline_rows_max = kInlineRowsMax;
  return opened;
}

}  // namespace

Result<std::unique_ptr<ServeFeatures>> ServeFeatures::open(const ServeConfig& config, const std::string& data_folder) {
  const std::string folder = data_folder + "/features";
  RETURN_IF_ERROR(sys::make_directories(folder, 0700));
  std::unique_ptr<ServeFeatures> features(new ServeFeatures());
  ASSIGN_OR_RETURN(OpenedStore opened, open_online_store(config.features_online_store, folder));
  features->online_ = std::move(opened.store);
  ASSIGN_OR_RETURN(features->store_, features::FeatureStore::open(*features->online_, folder + "/registry.json"));
  gateway::FeaturesApiOptions options;
  options.inline_rows_max = opened.inline_rows_max;
  features->api_ = std::make_unique<gateway::FeaturesApi>(*features->store_, options);
  return features;
}

}  // namespace thaw::cli
