#include "gateway/offline_features_api.h"

#include <fcntl.h>

#include <boost/json/array.hpp>

#include "base/iso_time.h"
#include "base/log.h"
#include "base/sys.h"
#include "gateway/historical_request.h"
#include "http/message.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::string_view kMaterialize = "/materialize";
constexpr std::string_view kIncremental = "/materialize-incremental";
constexpr std::string_view kJobs = "/jobs";
constexpr std::string_view kHistorical = "/historical";

enum class Start : std::uint8_t { needed, optional, none };

Result<std::int64_t> time_of(const json::object& body, std::string_view field) {
  ASSIGN_OR_RETURN(const auto text, string_of(body, field));
  if (!text) return invalid_argument(std::string(field) + ": is missing");
  const auto time_us = parse_iso_time_us(*text);
  if (time_us) return *time_us;
  return invalid_argument(std::string(field) + ": '" + text->substr(0, 100) +
                          "' is no time in ISO 8601, like 2026-01-31T12:00:00+01:00");
}

Result<features::MaterializeRequest> materialize_request(const json::object& body, Start start) {
  features::MaterializeRequest request;
  ASSIGN_OR_RETURN(request.end_us, time_of(body, "end_ts"));
  const json::value* given = body.if_contains("start_ts");
  const bool has_start = given != nullptr && !given->is_null();
  if (start == Start::needed || (start == Start::optional && has_start)) {
    ASSIGN_OR_RETURN(request.start_us, time_of(body, "start_ts"));
  }
  const json::value* views = body.if_contains("feature_views");
  if (views == nullptr || views->is_null()) return request;
  if (!views->is_array()) return invalid_argument("feature_views: must be an array of names");
  for (const json::value& view : views->get_array()) {
    if (!view.is_string()) return invalid_argument("feature_views: must be an array of names");
    request.views.emplace_back(view.get_string());
  }
  return request;
}

json::object job_json(const features::MaterializeJob& job) {
  json::array views;
  for (const features::MaterializeView& view : job.views) {
    views.push_back(json::object{{"Name", view.name},
                                 {"Start", format_iso_time_us(view.range.from_us)},
                                 {"End", format_iso_time_us(view.range.until_us)},
                                 {"RowsRead", view.rows_read},
                                 {"RowsPassedOver", view.rows_passed_over},
                                 {"RowsWritten", view.rows_written},
                                 {"Done", view.done}});
  }
  json::object object{{"Id", job.id},
                      {"State", features::to_string(job.state)},
                      {"Started", format_iso_time_us(job.started_ms * 1000)},
                      {"Views", std::move(views)}};
  if (job.ended_ms != 0) object["Ended"] = format_iso_time_us(job.ended_ms * 1000);
  if (job.error) object["Error"] = json::object{{"Kind", to_string(job.error->kind)}, {"Message", job.error->message}};
  return object;
}

}  // namespace

OfflineFeaturesApi::OfflineFeaturesApi(features::FeatureStore& store, features::MaterializeJobs& jobs,
                                       OfflineFeaturesOptions options)
    : store_(store),
      jobs_(jobs),
      options_(std::move(options)),
      waiters_(features::kMaterializeJobsRunningMax),
      workers_(kHistoricalRunningMax) {}

OfflineFeaturesApi::~OfflineFeaturesApi() {
  ending_ = true;
  jobs_.cancel_all();
  waiters_.join();
  workers_.join();
}

Status OfflineFeaturesApi::append(const features::FeatureView& view, std::span<const features::FeatureRow> rows) const {
  if (!view.source)
    return invalid_argument("to: the feature view " + view.name + " has no source that rows could be pushed to");
  ASSIGN_OR_RETURN(const features::SourceRows appended, features::source_rows(view, rows));
  return options_.append(*view.source, appended);
}

bool OfflineFeaturesApi::is_path(std::string_view path) { return path == kMaterialize || path == kIncremental; }

http::Task<Status> OfflineFeaturesApi::handle(http::Exchange& exchange, std::string_view path) {
  if (exchange.request().method != "POST") co_return no_method();
  const auto body = co_await read_json(exchange);
  if (!body.ok()) co_return body.error();
  const auto request = materialize_request(*body, path == kMaterialize ? Start::needed : Start::none);
  if (!request.ok()) co_return request.error();
  const Status done = co_await http::off_loop(waiters_, exchange.loop(), [&]() -> Status {
    ASSIGN_OR_RETURN(const std::string id, jobs_.start(*request));
    return jobs_.wait(id);
  });
  if (!done.ok()) co_return done.error();
  co_return co_await exchange.respond({.body = "null"});
}

bool OfflineFeaturesApi::is_control_path(std::string_view path) {
  return path == kMaterialize || path == kHistorical || path == kJobs || path.starts_with(std::string(kJobs) + "/");
}

http::Task<Status> OfflineFeaturesApi::control(http::Exchange& exchange, std::string_view path, const Query& query) {
  const std::string_view method = exchange.request().method;
  if (path == kJobs) {
    if (method != "GET") co_return no_method();
    json::array all;
    for (const features::MaterializeJob& one : jobs_.list()) all.push_back(job_json(one));
    const json::object body{{"Jobs", std::move(all)}};
    co_return co_await answer_json(exchange, 200, body);
  }
  if (path.starts_with(kJobs)) co_return co_await job(exchange, path.substr(kJobs.size() + 1));
  if (method != "POST") co_return no_method();
  if (path == kMaterialize) co_return co_await start_job(exchange);
  co_return co_await historical(exchange, query);
}

http::Task<Status> OfflineFeaturesApi::start_job(http::Exchange& exchange) {
  const auto body = co_await read_json(exchange);
  if (!body.ok()) co_return body.error();
  const auto request = materialize_request(*body, Start::optional);
  if (!request.ok()) co_return request.error();
  const auto started = co_await http::off_loop(workers_, exchange.loop(), [&]() -> Result<features::MaterializeJob> {
    ASSIGN_OR_RETURN(const std::string id, jobs_.start(*request));
    return jobs_.find(id);
  });
  if (!started.ok()) co_return started.error();
  co_return co_await answer_json(exchange, 202, job_json(*started));
}

http::Task<Status> OfflineFeaturesApi::job(http::Exchange& exchange, std::string_view id) {
  const std::string_view method = exchange.request().method;
  if (method != "GET" && method != "DELETE") co_return no_method();
  if (method == "DELETE") {
    const Status cancelled = jobs_.cancel(id);
    if (!cancelled.ok()) co_return cancelled.error();
  }
  const auto found = jobs_.find(id);
  if (!found.ok()) co_return found.error();
  co_return co_await answer_json(exchange, method == "GET" ? 200 : 202, job_json(*found));
}

}  // namespace thaw::gateway
