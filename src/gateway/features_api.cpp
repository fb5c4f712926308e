#include "gateway/features_api.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>

#include "base/log.h"
#include "base/uuid.h"
#include "gateway/answers.h"
#include "gateway/offline_features_api.h"
#include "http/message.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::string_view kGetOnline = "/get-online-features";
constexpr std::string_view kPush = "/push";
constexpr std::string_view kWrite = "/write-to-online-store";
constexpr std::string_view kSearch = "/search";
constexpr std::string_view kDocuments = "/retrieve-online-documents";
constexpr std::string_view kHealth = "/health";
constexpr unsigned kSearchThreads = 4;
constexpr std::string_view kControl = "/thaw/v1/features";
constexpr std::size_t kFrameDepthMax = 8;
// Bodies up to this are parsed on the loop that has them.
constexpr std::size_t kInlineBodyBytesMax = 64 << 10;

// Feast's server answers 422 for what is wrong in a request, with the reason as "detail".
http::Task<Status> answer_feature_error(http::Exchange& exchange, const Error& error) {
  const int status = error.kind == ErrorKind::invalid_argument ? 422 : http_status(error.kind);
  const std::string request_id = random_uuid();
  std::string body = "{\"detail\":" + json_quoted(error.message) + ",\"kind\":" + json_quoted(to_string(error.kind));
  if (!error.code.empty()) body += ",\"code\":" + json_quoted(error.code);
  body += ",\"message\":" + json_quoted(error.message) + ",\"requestId\":" + json_quoted(request_id) + "}\n";
  std::string fields = "x-amzn-requestid: " + request_id + "\r\n";
  if (status == 429 || status == 503) fields += "Retry-After: 1\r\n";
  co_return co_await exchange.respond({.status = status, .body = body, .extra_fields = fields});
}

// A write's body: whom it is for, and the frame.
struct WriteRequest {
  std::string name;
  json::object columns;
  std::string to = "online";
};

Result<WriteRequest> parse_write(std::string_view body, bool push) {
  json::parse_options options;
  options.max_depth = kFrameDepthMax;
  boost::system::error_code failed;
  json::value parsed = json::parse(body, failed, {}, options);
  if (failed || !parsed.is_object()) return invalid_argument("the request body is no JSON object");
  json::object& object = parsed.get_object();
  WriteRequest request;
  const char* const field = push ? "push_source_name" : "feature_view_name";
  ASSIGN_OR_RETURN(const auto name, string_of(object, field));
  if (!name || name->empty()) return invalid_argument(std::string(field) + ": must be a name");
  if (push) {
    ASSIGN_OR_RETURN(const auto to, string_of(object, "to"));
    if (to && *to != "online" && *to != "offline" && *to != "online_and_offline")
      return invalid_argument("to: must be online, offline or online_and_offline");
    request.to = to.value_or(request.to);
  }
  json::value* frame = object.if_contains("df");
  if (frame == nullptr || !frame->is_object())
    return invalid_argument("df: must be an object of columns, like {\"driver_id\": [1001], \"conv_rate\": [0.5]}");
  request.name = *name;
  request.columns = std::move(frame->get_object());
  return request;
}

std::string_view result_text(features::Applied::Kind kind) {
  switch (kind) {
    case features::Applied::Kind::created:
      return "created";
    case features::Applied::Kind::changed:
      return "changed";
    case features::Applied::Kind::unchanged:
      break;
  }
  return "unchanged";
}

template <class One>
Result<json::object> described(const std::map<std::string, One, std::less<>>& all, const std::string& name,
                               std::string_view what) {
  const auto found = all.find(name);
  if (found != all.end()) return features::to_json(found->second);
  return Error{ErrorKind::not_found,
               "there is no " + std::string(what) + " '" + name.substr(0, model::kFeatureNameBytesMax) + "'"};
}

}  // namespace

bool is_feature_path(std::string_view path) {
  return path == kGetOnline || path == kHealth || path == kSearch || path == kDocuments || is_feature_write(path);
}
bool is_feature_write(std::string_view path) {
  return path == kPush || path == kWrite || OfflineFeaturesApi::is_path(path);
}

FeaturesApi::FeaturesApi(features::FeatureStore& store, FeaturesApiOptions options)
    : store_(store), options_(options), workers_(std::max(1U, options.threads)), searchers_(kSearchThreads) {}

FeaturesApi::~FeaturesApi() {
  workers_.join();
  searchers_.join();
}

http::Task<> FeaturesApi::handle(http::Exchange& exchange, std::string_view target) {
  const std::string_view path = target.substr(0, target.find('?'));
  const Status done = co_await dispatch(exchange, path);
  if (done.ok() || exchange.responded() || exchange.client_gone()) co_return;
  if (should_log(done.error())) log::error("feature_request_failed error={}", done.error().message);
  co_await answer_feature_error(exchange, done.error());
}

// While the online store is away, every request fails alike: one a second is enough.
bool FeaturesApi::should_log(const Error& error) {
  if (error.kind != ErrorKind::unavailable) return http_status(error.kind) >= 500;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const std::int64_t now_s = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  return logged_s_.exchange(now_s) != now_s;
}

http::Task<Status> FeaturesApi::dispatch(http::Exchange& exchange, std::string_view path) {
  const std::string_view method = exchange.request().method;
  if (path == kHealth) {
    if (method != "GET" && method != "HEAD") co_return no_method();
    co_return co_await exchange.respond({.content_type = "text/plain; charset=utf-8"});
  }
  if (method != "POST") co_return no_method();
  if (path == kGetOnline) co_return co_await get_online(exchange);
  if (OfflineFeaturesApi::is_path(path)) {
    if (offline_ == nullptr) co_return Error(ErrorKind::unsupported, "this daemon reads no sources");
    co_return co_await offline_->handle(exchange, path);
  }
  if (path == kSearch || path == kDocuments) co_return co_await search(exchange, path == kDocuments);
  co_return co_await write(exchange, path == kPush);
}

http::Task<Result<HeldBody>> FeaturesApi::read_body(http::Exchange& exchange, std::size_t bytes_max) {
  const Error too_large(ErrorKind::too_large,
                        "the request body is larger than " + std::to_string(bytes_max >> 20) + " MB, the limit here");
  if (!exchange.set_body_bytes_max(bytes_max)) co_return too_large;
  HeldBody body(held_bytes_);
  for (;;) {
    const auto piece = co_await exchange.read_body();
    if (!piece.ok() && piece.error().kind == ErrorKind::too_large) co_return too_large;
    if (!piece.ok()) co_return piece.error();
    if (piece->empty()) break;
    if (Status held = body.append(*piece); !held.ok()) co_return held.error();
  }
  co_return std::move(body);
}

Result<std::optional<FeaturesApi::OnlineText>> FeaturesApi::answer_now(features::OnlineRequest& request) {
  const std::size_t rows = store_.rows_of(request);
  std::optional<features::OnlineAnswer> found;
  if (rows <= options_.inline_rows_max) {
    ASSIGN_OR_RETURN(found, store_.get_online(std::move(request)));
  } else if (rows <= options_.cached_rows_max) {
    ASSIGN_OR_RETURN(found, store_.get_online_now(request));
  }
  if (!found) return std::optional<OnlineText>();
  return std::optional(OnlineText{features::to_json(*found), found->any_stale()});
}

http::Task<Status> FeaturesApi::get_online(http::Exchange& exchange) {
  const auto body = co_await read_body(exchange, kFeatureReadBytesMax);
  if (!body.ok()) co_return body.error();
  Result<features::OnlineRequest> request = features::OnlineRequest();
  std::optional<OnlineText> text;
  const bool small = body->bytes().size() <= kInlineBodyBytesMax;
  if (small) {
    request = parse_online_request(body->bytes());
    if (!request.ok()) co_return request.error();
    auto now = answer_now(*request);
    if (!now.ok()) co_return now.error();
    text = *std::move(now);
  }
  if (!text) {
    const auto answer = co_await http::off_loop(workers_, exchange.loop(), [&]() -> Result<OnlineText> {
      if (!small) request = parse_online_request(body->bytes());
      if (!request.ok()) return request.error();
      ASSIGN_OR_RETURN(const features::OnlineAnswer found, store_.get_online(std::move(*request)));
      return OnlineText{features::to_json(found), found.any_stale()};
    });
    if (!answer.ok()) co_return answer.error();
    text = *answer;
  }
  const std::string_view fields = text->stale ? "Thaw-Features: stale\r\n" : "";
  co_return co_await exchange.respond({.body = text->json, .extra_fields = fields});
}

http::Task<Status> FeaturesApi::write(http::Exchange& exchange, bool push) {
  const auto body = co_await read_body(exchange, kFeatureWriteBytesMax);
  if (!body.ok()) co_return body.error();
  const auto rows = co_await http::off_loop(workers_, exchange.loop(), [&]() -> Result<std::size_t> {
    ASSIGN_OR_RETURN(const WriteRequest request, parse_write(body->bytes(), push));
    if (request.to != "online") return push_offline(request.name, request.columns, request.to == "online_and_offline");
    return push ? store_.push(request.name, request.columns) : store_.write_columns(request.name, request.columns);
  });
  if (!rows.ok()) co_return rows.error();
  co_return co_await exchange.respond({.body = "null"});
}

http::Task<Status> FeaturesApi::search(http::Exchange& exchange, bool documents) {
  const auto body = co_await read_body(exchange, kFeatureReadBytesMax);
  if (!body.ok()) co_return body.error();
  const auto answer = co_await http::off_loop(searchers_, exchange.loop(), [&]() -> Result<std::string> {
    if (documents) {
      ASSIGN_OR_RETURN(const features::DocumentsRequest request, parse_documents_request(body->bytes()));
      ASSIGN_OR_RETURN(const features::OnlineAnswer found, store_.search_documents(request));
      return features::to_json(found);
    }
    ASSIGN_OR_RETURN(const features::SearchRequest request, parse_search_request(body->bytes()));
    ASSIGN_OR_RETURN(const features::SearchAnswer found, store_.search(request));
    return features::to_json(found);
  });
  if (!answer.ok()) co_return answer.error();
  co_return co_await exchange.respond({.body = *answer});
}

Result<std::size_t> FeaturesApi::push_offline(const std::string& name, const json::object& columns, bool online_too) {
  if (offline_ == nullptr) return Error{ErrorKind::unsupported, "this daemon has no sources"};
  const auto all = store_.definitions();
  const auto source = all->push_sources.find(name);
  if (source == all->push_sources.end())
    return Error{ErrorKind::not_found, "there is no push source '" + name.substr(0, model::kFeatureNameBytesMax) + "'"};
  const features::FeatureView& view = all->views.at(source->second.view);
  ASSIGN_OR_RETURN(const std::vector<features::FeatureRow> rows, features::FeatureStore::rows_of(view, columns));
  RETURN_IF_ERROR(offline_->append(view, rows));
  if (online_too) RETURN_IF_ERROR(store_.write_rows(view, rows));
  return rows.size();
}

Status FeaturesApi::forget(const std::string& view) {
  if (offline_ == nullptr) return {};
  return offline_->forget(view);
}

bool FeaturesApi::is_control_path(std::string_view path) {
  return path == kControl || path.starts_with(std::string(kControl) + "/");
}

http::Task<Status> FeaturesApi::control(http::Exchange& exchange, std::string_view path, const Query& query) {
  const std::string_view method = exchange.request().method;
  path.remove_prefix(kControl.size());
  if (path.empty() || path == "/") {
    if (method == "POST") co_return co_await apply(exchange, query);
    if (method != "GET") co_return no_method();
    co_return co_await answer_json(exchange, 200, features::to_json(*store_.definitions()));
  }
  if (offline_ != nullptr && OfflineFeaturesApi::is_control_path(path))
    co_return co_await offline_->control(exchange, path, query);
  path.remove_prefix(1);
  if (path == "status") {
    if (method != "GET") co_return no_method();
    co_return co_await answer_json(exchange, 200, options_.status());
  }
  const std::size_t slash = path.find('/');
  const auto name = slash == std::string_view::npos ? Result<std::string>(std::string())
                                                    : http::percent_decode(path.substr(slash + 1));
  if (!name.ok()) co_return name.error();
  co_return co_await control_one(exchange, std::string(path.substr(0, slash)), *name);
}

http::Task<Status> FeaturesApi::control_one(http::Exchange& exchange, const std::string& kind,
                                            const std::string& name) {
  const bool view = kind == "views";
  const bool service = kind == "services";
  if ((!view && !service && kind != "push-sources") || name.empty() || !http::is_utf8(name))
    co_return Error{ErrorKind::not_found, "the control API has no such path"};
  const std::string_view method = exchange.request().method;
  if (method == "DELETE") {
    const Status removed = co_await http::off_loop(workers_, exchange.loop(), [&]() -> Status {
      if (view) {
        RETURN_IF_ERROR(store_.remove_view(name));
        return forget(name);
      }
      return service ? store_.remove_service(name) : store_.remove_push_source(name);
    });
    if (!removed.ok()) co_return removed.error();
    log::info("features_deleted kind={} name={}", kind, name);
    co_return co_await exchange.respond({.status = 204});
  }
  if (method != "GET") co_return no_method();
  const auto all = store_.definitions();
  const auto one = view      ? described(all->views, name, "feature view")
                   : service ? described(all->services, name, "feature service")
                             : described(all->push_sources, name, "push source");
  if (!one.ok()) co_return one.error();
  co_return co_await answer_json(exchange, 200, *one);
}

http::Task<Status> FeaturesApi::apply(http::Exchange& exchange, const Query& query) {
  const bool toml = exchange.request().fields.find("content-type").starts_with("application/toml");
  const auto mode = value_of(query, "force") == "1" ? features::ApplyMode::drop_rows : features::ApplyMode::keep_rows;
  const auto body = co_await read_body(exchange, features::kDefinitionsBytesMax);
  if (!body.ok()) co_return body.error();
  const auto applied =
      co_await http::off_loop(workers_, exchange.loop(), [&]() -> Result<std::vector<features::Applied>> {
        ASSIGN_OR_RETURN(const features::Definitions changes, toml ? features::parse_definitions_toml(body->bytes())
                                                                   : features::parse_definitions_json(body->bytes()));
        ASSIGN_OR_RETURN(std::vector<features::Applied> all, store_.apply(changes, mode));
        for (const features::Applied& one : all)
          if (one.dropped_rows) RETURN_IF_ERROR(forget(one.name));
        return all;
      });
  if (!applied.ok()) co_return applied.error();
  json::array results;
  for (const features::Applied& one : *applied) {
    results.push_back(json::object{
        {"Kind", one.what}, {"Name", one.name}, {"Result", result_text(one.kind)}, {"RowsDropped", one.dropped_rows}});
  }
  log::info("features_applied definitions={}", applied->size());
  const json::object answer{{"Applied", std::move(results)}};
  co_return co_await answer_json(exchange, 200, answer);
}

}  // namespace thaw::gateway
