// The daemon's sources of features: files and databases that views are materialized from, wired in one place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "features/feature_store.h"
#include "features/materialize_jobs.h"
#include "gateway/offline_features_api.h"

namespace thaw::cli {

struct OfflineOptions {
  // DATA/features: files of sources lie in offline/ of it, rows on their way in spool/.
  std::string folder;
  std::uint64_t upload_bytes_max = 0;
};

// Ownership: borrows the store, which outlives it. Threads: any, once it is open.
class ServeOffline {
 public:
  static Result<std::unique_ptr<ServeOffline>> open(features::FeatureStore& store, const OfflineOptions& options);

  gateway::OfflineFeaturesApi& api() { return *api_; }

 private:
  ServeOffline() = default;

  std::unique_ptr<features::MaterializeJobs> jobs_;
  std::unique_ptr<gateway::OfflineFeaturesApi> api_;
};

}  // namespace thaw::cli
