// The offline half of the feature store over HTTP. Feast's server has
//
//   POST   /materialize              {"start_ts", "end_ts", "feature_views"}: answers null when it is done
//   POST   /materialize-incremental  {"end_ts", "feature_views"}
//
// and the control API, under /thaw/v1/features,
//
//   POST   /materialize              as above, incrementally without start_ts: 202 with the job
//   GET    /jobs, /jobs/ID           what jobs have come to; DELETE cancels one
//   POST   /historical               {"features" or "feature_service", "entities", "full_feature_names"}: answers CSV
//   POST   /historical?features=VIEW:FEATURE,…&feature_service=&full_feature_names=1  with entities as text/csv
//
// Times are ISO 8601; without a zone they are UTC.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "features/feature_store.h"
#include "features/historical.h"
#include "features/materialize_jobs.h"
#include "features/source_rows.h"
#include "gateway/control_request.h"
#include "http/server.h"

namespace thaw::gateway {

inline constexpr std::size_t kHistoricalRunningMax = 4;
inline constexpr std::size_t kHistoricalJsonBytesMax = 32 << 20;

struct OfflineFeaturesOptions {
  std::string folder;                  // for entities and answers on their way; it exists
  std::uint64_t upload_bytes_max = 0;  // of entities as CSV
  std::uint64_t answer_bytes_max = 16ULL << 30;
  features::OpenSource open_source;
  features::AppendToSource append;
  features::MakeTable open_csv;
  ports::MakeRowSpool make_spool;
};

// Ownership: borrows the store and the jobs, which outlive it. Threads: any loop; what takes long runs on threads of
// its own. The end of this cancels what runs, and waits for it.
class OfflineFeaturesApi {
 public:
  OfflineFeaturesApi(features::FeatureStore& store, features::MaterializeJobs& jobs, OfflineFeaturesOptions options);
  ~OfflineFeaturesApi();

  // Feast's paths.
  static bool is_path(std::string_view path);
  http::Task<Status> handle(http::Exchange& exchange, std::string_view path);

  // path: below /thaw/v1/features, "/materialize", "/jobs/ID"; encoded.
  static bool is_control_path(std::string_view path);
  http::Task<Status> control(http::Exchange& exchange, std::string_view path, const Query& query);

  // To the source of the view. Errors: invalid_argument where it has none, or it can only be read.
  Status append(const features::FeatureView& view, std::span<const features::FeatureRow> rows) const;
  // After the rows of a view went.
  Status forget(const std::string& view) { return jobs_.forget(view); }

 private:
  // What a request for historical features is about, and where its files are.
  struct Join;

  http::Task<Status> start_job(http::Exchange& exchange);
  http::Task<Status> job(http::Exchange& exchange, std::string_view id);
  http::Task<Status> historical(http::Exchange& exchange, const Query& query);
  http::Task<Status> take_json(http::Exchange& exchange, Join& join);
  http::Task<Status> take_csv(http::Exchange& exchange, const Query& query, Join& join);
  http::Task<Status> send(http::Exchange& exchange, const Join& join);
  Status choose(Join& join, const std::vector<std::string>& features, const std::string& service) const;
  Status write_answer(const Join& join) const;

  features::FeatureStore& store_;
  features::MaterializeJobs& jobs_;
  const OfflineFeaturesOptions options_;
  std::atomic<std::size_t> historical_running_{0};
  std::atomic<bool> ending_{false};
  boost::asio::thread_pool waiters_;  // of Feast's paths: one for each job that may run
  boost::asio::thread_pool workers_;
};

}  // namespace thaw::gateway
