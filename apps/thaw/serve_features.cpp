#include "serve_features.h"

#include "base/sys.h"

namespace thaw::cli {
namespace {

// Reads of the embedded store and of a cache are shorter than the way to another thread and back, up to about here.
constexpr std::size_t kInlineRowsMax = 64;

}  // namespace

Result<std::unique_ptr<ServeFeatures>> ServeFeatures::open(const ServeConfig& config, const std::string& data_folder) {
  const std::string folder = data_folder + "/features";
  RETURN_IF_ERROR(sys::make_directories(folder, 0700));
  std::unique_ptr<ServeFeatures> features(new ServeFeatures());
  ASSIGN_OR_RETURN(features->online_, open_online_store(config, folder + "/online.db"));
  const ServeOnlineStore& online = features->online_;
  ASSIGN_OR_RETURN(features->store_, features::FeatureStore::open(*online.store, folder + "/registry.json"));
  gateway::FeaturesApiOptions options;
  options.inline_rows_max = online.in_process ? kInlineRowsMax : 0;
  options.cached_rows_max = online.cache != nullptr ? kInlineRowsMax : 0;
  options.status = [&online] { return online.status(); };
  features->api_ = std::make_unique<gateway::FeaturesApi>(*features->store_, options);
  ASSIGN_OR_RETURN(
      features->offline_,
      ServeOffline::open(*features->store_, {.folder = folder, .upload_bytes_max = config.upload_max_mb << 20}));
  features->api_->use_offline(features->offline_->api());
  return features;
}

}  // namespace thaw::cli
