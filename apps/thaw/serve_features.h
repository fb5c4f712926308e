// The daemon's feature store: its online store, its definitions, and the API to them, wired in one place.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "config.h"
#include "features/feature_store.h"
#include "gateway/features_api.h"
#include "serve_offline.h"
#include "serve_online_stores.h"

namespace thaw::cli {

// Threads: any, once it is open.
class ServeFeatures {
 public:
  // data_folder: as this process finds it. Errors: invalid_argument names the key; corrupt the file.
  static Result<std::unique_ptr<ServeFeatures>> open(const ServeConfig& config, const std::string& data_folder);

  features::FeatureStore& store() { return *store_; }
  gateway::FeaturesApi& api() { return *api_; }

 private:
  ServeFeatures() = default;

  ServeOnlineStore online_;
  std::unique_ptr<features::FeatureStore> store_;
  std::unique_ptr<ServeOffline> offline_;
  std::unique_ptr<gateway::FeaturesApi> api_;
};

}  // namespace thaw::cli
