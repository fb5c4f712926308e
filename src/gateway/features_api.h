// The feature store over HTTP: the API of Feast's feature server, and the control API's part for definitions.
//
//   POST   /get-online-features      {"features" or "feature_service", "entities", "full_feature_names"}
//   POST   /push                     {"push_source_name", "df", "to"}
//   POST   /write-to-online-store    {"feature_view_name", "df"}
//   POST   /materialize, /materialize-incremental   see offline_features_api.h
//   POST   /retrieve-online-documents   {"features" or "feature_service", "query", "top_k"}
//   POST   /search                   {"feature_view", "query" or "entities", "top_k", "filter", "features", …}
//   GET    /health
//
//   GET    /thaw/v1/features                     all definitions
//   POST   /thaw/v1/features?force=1             adds and replaces: JSON, or TOML as application/toml
//   GET    /thaw/v1/features/status              the online store and its caches
//   …      /thaw/v1/features/materialize, jobs, historical   see offline_features_api.h
//   GET    /thaw/v1/features/views/NAME          also services/NAME, push-sources/NAME; DELETE
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "features/feature_store.h"
#include "gateway/control_request.h"
#include "gateway/openai_api.h"
#include "http/server.h"

namespace thaw::gateway {

class OfflineFeaturesApi;

// Of a request's body.
inline constexpr std::size_t kFeatureReadBytesMax = 8 << 20;
inline constexpr std::size_t kFeatureWriteBytesMax = 32 << 20;

struct FeaturesApiOptions {
  // Requests about no more rows of the online store than this are answered on the loop that has them, where a read
  // costs less than the way to another thread and back; 0: none.
  std::size_t inline_rows_max = 0;
  // Requests about no more rows than this are answered there too where a cache has all of them.
  std::size_t cached_rows_max = 0;
  unsigned threads = 8;  // that wait for the online store
  // What the status says.
  std::function<boost::json::object()> status;
};

// Whether the target is one of Feast's paths, or the search's.
bool is_feature_path(std::string_view path);
// Whether a request to it changes values: such are the control API's callers' alone.
bool is_feature_write(std::string_view path);

// What a request's body asks for. Errors: invalid_argument names the field.
Result<features::OnlineRequest> parse_online_request(std::string_view body);

Result<features::SearchRequest> parse_search_request(std::string_view body);
Result<features::DocumentsRequest> parse_documents_request(std::string_view body);

// Ownership: borrows the store. Threads: any loop; what waits for the online store runs on threads of its own.
class FeaturesApi {
 public:
  FeaturesApi(features::FeatureStore& store, FeaturesApiOptions options);
  // Waits for what is under way.
  ~FeaturesApi();

  // Before the first request; it outlives this. Without it there are no sources.
  void use_offline(OfflineFeaturesApi& offline) { offline_ = &offline; }

  // Feast's paths. The caller was admitted.
  http::Task<> handle(http::Exchange& exchange, std::string_view target);

  static bool is_control_path(std::string_view path);
  // path: decoded from nothing yet, without the query.
  http::Task<Status> control(http::Exchange& exchange, std::string_view path, const Query& query);

 private:
  // An answer as it is sent.
  struct OnlineText {
    std::string json;
    bool stale = false;
  };
  bool should_log(const Error& error);
  http::Task<Status> dispatch(http::Exchange& exchange, std::string_view path);
  http::Task<Status> get_online(http::Exchange& exchange);
  // Nothing: not without waiting.
  Result<std::optional<OnlineText>> answer_now(features::OnlineRequest& request);
  http::Task<Status> write(http::Exchange& exchange, bool push);
  http::Task<Status> search(http::Exchange& exchange, bool documents);
  http::Task<Result<HeldBody>> read_body(http::Exchange& exchange, std::size_t bytes_max);
  http::Task<Status> apply(http::Exchange& exchange, const Query& query);
  // To the source of the view, and to the online store where that is wanted too: after the source has them.
  Result<std::size_t> push_offline(const std::string& name, const boost::json::object& columns, bool online_too);
  // After the rows of a view went.
  Status forget(const std::string& view);
  http::Task<Status> control_one(http::Exchange& exchange, const std::string& kind, const std::string& name);

  features::FeatureStore& store_;
  OfflineFeaturesApi* offline_ = nullptr;
  const FeaturesApiOptions options_;
  std::atomic<std::uint64_t> held_bytes_{0};
  std::atomic<std::int64_t> logged_s_{0};  // when the online store's being away was logged last
  boost::asio::thread_pool workers_;
  boost::asio::thread_pool searchers_;  // a search may be long: reads and writes do not wait behind it
};

}  // namespace thaw::gateway
