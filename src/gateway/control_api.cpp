#include "gateway/control_api.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/json/array.hpp>

#include "base/log.h"
#include "base/sys.h"
#include "base/uuid.h"
#include "control/function_settings.h"
#include "gateway/answers.h"
#include "gateway/control_request.h"
#include "gateway/features_api.h"
#include "gateway/function_json.h"
#include "gateway/function_name.h"
#include "gateway/function_request.h"
#include "gateway/models_api.h"
#include "gateway/route.h"
#include "gateway/sigv4.h"
#include "gateway/upload.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr std::size_t kTailBytesMax = 8 << 20;
constexpr std::size_t kTailBytesDefault = 64 << 10;
constexpr unsigned kFollowersMax = 64;
constexpr std::chrono::milliseconds kFollowEvery{200};
constexpr std::string_view kService = "lambda";  // that signatures are for
constexpr std::string_view kFunctions = "/2015-03-31/functions";
constexpr std::string_view kStreamFunctions = "/2021-11-15/functions/";
constexpr std::string_view kStreamInvocations = "/response-streaming-invocations";
constexpr std::string_view kSchedules = "/thaw/v1/schedules";
constexpr std::string_view kThawFunctions = "/thaw/v1/functions/";

std::uint64_t own_memory_mb() {
  const auto status = sys::read_file("/proc/self/statm", 256);
  if (!status.ok()) return 0;
  const std::size_t space = status->find(' ');
  return std::strtoull(status->c_str() + space, nullptr, 10) * 4096 >> 20;
}

}  // namespace

Status check_control_caller(const http::Peer& peer, const http::RequestHead& request) {
  if (peer.unix_socket) return {};
  if (!peer.loopback) {
    return Error{ErrorKind::forbidden, "the control API answers on the Unix socket and on loopback only"};
  }
  if (!is_loopback_host(request.fields.find("host"))) {
    return Error{ErrorKind::forbidden, "the control API answers only when the Host field names localhost"};
  }
  const std::string_view site = request.fields.find("sec-fetch-site");
  if (request.fields.has("origin") || (!site.empty() && site != "none")) {
    return Error{ErrorKind::forbidden,
                 "the control API takes no requests from web pages (Origin or Sec-Fetch-Site was sent)"};
  }
  return {};
}

ControlApi::ControlApi(control::Catalog& catalog, control::ConcurrencyGate& gate, pool::Pool& pool,
                       observe::FunctionLogs& logs, const GatewayOptions& options)
    : catalog_(catalog), gate_(gate), pool_(pool), logs_(logs), options_(options) {}

ControlApi::~ControlApi() { workers_.join(); }

http::Task<> ControlApi::handle(http::Exchange& exchange, std::string_view target) {
  exchange.set_own_fields("x-amzn-RequestId: " + random_uuid() + "\r\n");
  Status done = co_await admit(exchange);
  if (done.ok()) done = co_await dispatch(exchange, target);
  co_await answer_failure(exchange, std::move(done));
}

http::Task<> ControlApi::handle_call(http::Exchange& exchange, const Route& route) {
  exchange.set_own_fields("x-amzn-RequestId: " + random_uuid() + "\r\n");
  Status done = co_await dispatch_call(exchange, route);
  co_await answer_failure(exchange, std::move(done));
}

http::Task<> ControlApi::answer_failure(http::Exchange& exchange, Status done) {
  if (done.ok() || exchange.responded() || exchange.client_gone()) co_return;
  if (http_status(done.error().kind) >= 500) log::error("control_request_failed error={}", done.error().message);
  co_await answer_control_error(exchange, done.error());
}

// The Unix socket's file mode decides there. A signature names the host, so that no web page and no other machine's
// name for this one matters to it.
http::Task<Status> ControlApi::admit(http::Exchange& exchange) {
  if (options_.access_keys.empty() || exchange.peer().unix_socket)
    co_return check_control_caller(exchange.peer(), exchange.request());
  const auto verified = co_await verify(exchange, options_.access_keys, kService);
  if (!verified.ok()) co_return verified.error();
  co_return Status();
}

http::Task<Status> ControlApi::dispatch(http::Exchange& exchange, std::string_view target) {
  const auto split = http::split_target(target);
  if (!split.ok()) co_return split.error();
  const auto query = http::parse_query(split->query);
  if (!query.ok()) co_return query.error();
  const std::string_view method = exchange.request().method;
  std::string_view path = split->path;
  if (path == "/thaw/v1/status") {
    if (method != "GET") co_return no_method();
    co_return co_await status(exchange);
  }
  if (path == kFunctions || path == std::string(kFunctions) + "/") {
    if (method == "POST") co_return co_await create_function(exchange);
    if (method != "GET") co_return no_method();
    co_return co_await list(exchange, *query);
  }
  if (path == "/2016-08-19/account-settings/" || path == "/2016-08-19/account-settings") {
    if (method != "GET") co_return no_method();
    co_return co_await account_settings(exchange);
  }
  if (LayersApi::is_path(path)) co_return co_await layers_.handle(exchange, path, *query);
  if (path == kSchedules || path.starts_with(std::string(kSchedules) + "/"))
    co_return co_await schedules(exchange, path.substr(kSchedules.size()), *query);
  if (SettingsApi::is_path(path)) co_return co_await settings_.handle(exchange, path, *query);
  if (models_ != nullptr && ModelsApi::is_path(path)) co_return co_await models_->handle(exchange, path, *query);
  if (features_ != nullptr && FeaturesApi::is_control_path(path))
    co_return co_await features_->control(exchange, path, *query);
  if (path.starts_with(kStreamFunctions) && path.ends_with(kStreamInvocations)) {
    if (method != "POST") co_return no_method();
    path.remove_prefix(kStreamFunctions.size());
    const auto named = named_function(path.substr(0, path.size() - kStreamInvocations.size()), *query);
    if (!named.ok()) co_return named.error();
    co_return co_await invoke_streamed(exchange, named->name, named->qualifier);
  }
  const bool own = path.substr(0, kThawFunctions.size()) == kThawFunctions;
  if (own || path.substr(0, kFunctions.size() + 1) == std::string(kFunctions) + "/") {
    path.remove_prefix(own ? kThawFunctions.size() : kFunctions.size() + 1);
    const std::size_t slash = path.find('/');
    const std::string_view rest = slash == std::string_view::npos ? std::string_view() : path.substr(slash);
    if (own) co_return co_await dispatch_own(exchange, path.substr(0, slash), rest, *query);
    const auto named = named_function(path.substr(0, slash), *query);
    if (!named.ok()) co_return named.error();
    const std::string& name = named->name;
    const std::string& qualifier = named->qualifier;
    if (rest == "/configuration") {
      if (method == "PUT" && qualifier.empty()) co_return co_await update_configuration(exchange, name);
      if (method != "GET") co_return no_method();
      co_return co_await describe_configuration(exchange, name, qualifier);
    }
    if (rest == "/invocations") {
      if (method != "POST") co_return no_method();
      co_return co_await invoke(exchange, name, qualifier);
    }
    if (rest == "/code" && method == "PUT" && qualifier.empty()) co_return co_await update_code(exchange, name);
    if (!rest.empty() && !qualifier.empty())
      co_return invalid_argument("Qualifier is not possible here: the path is about the whole function");
    if (!rest.empty()) co_return co_await dispatch_versions(exchange, name, rest, *query);
    if (method == "GET") co_return co_await describe(exchange, name, qualifier);
    if (method == "DELETE" && qualifier.empty()) co_return co_await remove(exchange, name);
    if (method == "DELETE") co_return co_await remove_version(exchange, name, qualifier);
    co_return no_method();
  }
  co_return Error{ErrorKind::not_found, "the control API has no such path"};
}

http::Task<Status> ControlApi::dispatch_call(http::Exchange& exchange, const Route& route) {
  const auto split = http::split_target(route.target);
  if (!split.ok()) co_return split.error();
  const auto query = http::parse_query(split->query);
  if (!query.ok()) co_return query.error();
  if (exchange.request().method != "POST") co_return no_method();
  const std::string_view behind = split->path.substr(kFunctions.size() + 1);
  const auto named = named_function(behind.substr(0, behind.find('/')), *query);
  if (!named.ok()) co_return named.error();
  co_return co_await invoke(exchange, named->name, named->qualifier, &route);
}

http::Task<Status> ControlApi::dispatch_own(http::Exchange& exchange, std::string_view segment, std::string_view rest,
                                            const Query& query) {
  const std::string_view method = exchange.request().method;
  const auto name = http::percent_decode(segment);
  if (!name.ok()) co_return name.error();
  if (!http::is_utf8(*name)) co_return invalid_argument("the function's name is not UTF-8");
  if (rest == "/package" && method == "PUT") co_return co_await deploy(exchange, *name, query);
  if (rest == "/package" && method == "GET") co_return co_await send_package(exchange, *name, query);
  if (rest == "/logs" && method == "GET") co_return co_await logs(exchange, *name, query);
  if (rest.empty() || rest == "/package" || rest == "/logs") co_return no_method();
  co_return Error{ErrorKind::not_found, "the control API has no such path"};
}

boost::json::object ControlApi::configuration(const model::FunctionRecord& record, std::string_view qualifier) const {
  boost::json::object configuration = function_configuration(record, qualifier, options_.listen_host, port_);
  add_snapshot(configuration, record,
               pool_.snapshots() == nullptr ? pool::SnapshotView() : pool_.snapshots()->view(record));
  return configuration;
}

http::Task<Status> ControlApi::list(http::Exchange& exchange, const Query& query) {
  const auto count = number_of(query, "MaxItems", kListItemsDefault, kListItemsMax);
  if (!count.ok()) co_return count.error();
  const std::string version = value_of(query, "FunctionVersion");
  if (version == "ALL") co_return co_await list_all(exchange, value_of(query, "Marker"), *count);
  if (!version.empty())
    co_return validation_error("functionVersion", version, "Member must satisfy enum value set: [ALL]");
  const auto page = co_await http::off_loop(workers_, exchange.loop(),
                                            [&] { return catalog_.list(value_of(query, "Marker"), *count); });
  if (!page.ok()) co_return page.error();
  boost::json::array functions;
  for (const auto& record : page->functions) functions.push_back(configuration(record, {}));
  boost::json::object body{{"Functions", std::move(functions)}};
  if (!page->next_marker.empty()) body["NextMarker"] = page->next_marker;
  co_return co_await answer_json(exchange, 200, body);
}

http::Task<Status> ControlApi::list_all(http::Exchange& exchange, const std::string& marker, std::size_t count) {
  // "NAME:VERSION" of the last one given out: of its function the later versions come next.
  const std::size_t colon = marker.find(':');
  const std::string from = marker.substr(0, colon);
  std::uint64_t after = 0;
  if (colon != std::string::npos && marker.substr(colon + 1) != model::kLatestVersion)
    after = model::version_number(marker.substr(colon + 1)).value_or(0);
  boost::json::array functions;
  std::string last;
  bool more = false;
  const auto add = [&](const model::FunctionRecord& record) {
    more = functions.size() == count;
    if (more) return;
    functions.push_back(configuration(record, record.version));
    last = record.config.name + ":" + record.version;
  };
  const auto add_versions = [&](const std::string& name, std::uint64_t behind) {
    for (const auto& version : catalog_.versions(name)) {
      if (!more && model::version_number(version->version).value_or(0) > behind) add(*version);
    }
  };
  if (!from.empty()) add_versions(from, after);
  // Each function has an item at least.
  const auto page = catalog_.list(from, std::min(count + 1, kListItemsMax));
  if (!page.ok()) co_return page.error();
  for (const model::FunctionRecord& function : page->functions) {
    if (more) break;
    add(function);
    if (!more) add_versions(function.config.name, 0);
  }
  more = more || !page->next_marker.empty();
  boost::json::object body{{"Functions", std::move(functions)}};
  if (more) body["NextMarker"] = last;
  co_return co_await answer_json(exchange, 200, body);
}

http::Task<Status> ControlApi::describe(http::Exchange& exchange, const std::string& name,
                                        const std::string& qualifier) {
  // Of a weighted alias its own version, as Lambda does.
  const auto record = catalog_.find({name, qualifier}, 1);
  if (record == nullptr) co_return no_function(qualifier.empty() ? name : name + ":" + qualifier);
  boost::json::object code{{"RepositoryType", "S3"}};
  if (!record->config.zip.sha256.empty()) code["Location"] = package_url(exchange, *record);
  boost::json::object body{{"Configuration", configuration(*record, qualifier)},
                           {"Code", std::move(code)},
                           {"Thaw", function_environments(pool_.view(pool::PoolKeyView(*record)))}};
  const auto reserved = control::reserved_concurrency(catalog_, name);
  if (!reserved.ok()) co_return reserved.error();
  if (reserved->has_value()) body["Concurrency"] = model::to_json(**reserved);
  const auto tags = control::tags(catalog_, name);
  if (!tags.ok()) co_return tags.error();
  if (!tags->empty()) body["Tags"] = model::to_json(*tags);
  co_return co_await answer_json(exchange, 200, body);
}

http::Task<Status> ControlApi::describe_configuration(http::Exchange& exchange, const std::string& name,
                                                      const std::string& qualifier) {
  const auto record = catalog_.find({name, qualifier}, 1);
  if (record == nullptr) co_return no_function(qualifier.empty() ? name : name + ":" + qualifier);
  co_return co_await answer_json(exchange, 200, configuration(*record, qualifier));
}

http::Task<Status> ControlApi::deploy(http::Exchange& exchange, const std::string& name, const Query& query) {
  control::Catalog::Deploy request;
  if (name != "-") request.name = name;
  request.overrides = value_of(query, "config");
  request.package_path = catalog_.new_upload_path();
  const Upload upload{request.package_path, options_.upload_bytes_max, "package", options_.data_folder};
  Status received = co_await receive_upload(exchange, workers_, upload);
  if (!received.ok()) {
    co_await http::off_loop(workers_, exchange.loop(), [&] { return sys::remove_tree(request.package_path).ok(); });
    co_return received;
  }
  const bool existed = catalog_.find(name) != nullptr;
  const auto record = co_await http::off_loop(workers_, exchange.loop(), [&] { return catalog_.deploy(request); });
  if (!record.ok()) co_return record.error();
  // The revision before is not lent any more; its running invocations finish. Published versions serve on.
  pool_.retire(pool::PoolKeyView(*record));
  log::info("function_deployed name={} bytes={}", record->config.name, record->code_bytes);
  if (const auto latest = catalog_.find(record->config.name)) pool_.fetch_ahead(latest);
  co_return co_await answer_json(exchange, existed ? 200 : 201, configuration(*record, {}));
}

http::Task<Status> ControlApi::remove(http::Exchange& exchange, const std::string& name) {
  const auto record = catalog_.find(name);
  if (record == nullptr) co_return no_function(name);
  Status removed = co_await http::off_loop(workers_, exchange.loop(), [&] {
    const auto versions = catalog_.versions(name);
    Status status = catalog_.remove(name);
    if (!status.ok()) return status;
    pool_.forget(*record);
    for (const auto& version : versions) pool_.forget(*version);
    return status;
  });
  if (!removed.ok()) co_return removed;
  const Status forgotten =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return logs_.remove(record->config.name); });
  if (!forgotten.ok())
    log::warn("function_log_not_removed name={} error={}", record->config.name, forgotten.error().message);
  log::info("function_deleted name={}", record->config.name);
  co_return co_await exchange.respond({.status = 204});
}

http::Task<Status> ControlApi::logs(http::Exchange& exchange, const std::string& name, const Query& query) {
  const auto record = catalog_.find(name);
  if (record == nullptr) co_return no_function(name);
  const auto bytes = number_of(query, "bytes", kTailBytesDefault, kTailBytesMax);
  if (!bytes.ok()) co_return bytes.error();
  const auto tail =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return logs_.tail(record->config.name, *bytes); });
  if (!tail.ok()) co_return tail.error();
  if (value_of(query, "follow") != "1") {
    co_return co_await exchange.respond({.content_type = "text/plain; charset=utf-8", .body = tail->text});
  }
  if (followers_.fetch_add(1) >= kFollowersMax) {
    --followers_;
    co_return Error{ErrorKind::overloaded,
                    "more than " + std::to_string(kFollowersMax) + " clients follow logs: retry later"};
  }
  Status done = co_await exchange.start_stream({.content_type = "text/plain; charset=utf-8"});
  if (done.ok()) done = co_await exchange.write_stream(tail->text);
  if (done.ok()) done = co_await follow_log(exchange, record->config.name, tail->position);
  --followers_;
  co_return done;
}

http::Task<Status> ControlApi::follow_log(http::Exchange& exchange, const std::string& name, std::uint64_t position) {
  using Clock = std::chrono::steady_clock;
  boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, http::Executor> timer(
      exchange.loop().executor());
  while (!exchange.client_gone() && exchange.keep_alive() && catalog_.find(name) != nullptr) {
    timer.expires_after(kFollowEvery);
    boost::system::error_code error;
    co_await timer.async_wait(boost::asio::redirect_error(http::use_task, error));
    const auto more =
        co_await http::off_loop(workers_, exchange.loop(), [&] { return logs_.since(name, position, kTailBytesMax); });
    if (!more.ok()) co_return more.error();
    position = more->position;
    if (Status sent = co_await exchange.write_stream(more->text); !sent.ok()) co_return sent;
  }
  co_return co_await exchange.finish_stream();
}

http::Task<Status> ControlApi::status(http::Exchange& exchange) {
  const pool::PoolView view = pool_.view();
  events::EventsView events;
  if (events_ != nullptr) events = co_await http::off_loop(workers_, exchange.loop(), [&] { return events_->view(); });
  const auto uptime =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - options_.started_at);
  const boost::json::object body{
      {"Version", options_.version},
      {"UptimeSeconds", uptime.count()},
      {"Listen", options_.listen_host + ":" + std::to_string(port_)},
      {"DataFolder", options_.data_folder},
      {"Functions", catalog_.count()},
      {"Environments",
       boost::json::object{
           {"Starting", view.starting}, {"Idle", view.idle}, {"Busy", view.busy}, {"Frozen", view.frozen}}},
      {"Queued", view.queued},
      {"Events", events_view(events)},
      {"MemoryAdmittedMb", view.memory_admitted_bytes >> 20},
      {"MemoryMaxMb", options_.memory_bytes_max >> 20},
      {"ServerMemoryMb", own_memory_mb()},
      {"Snapshots",
       snapshot_totals(pool_.snapshots() == nullptr ? pool::SnapshotTotals() : pool_.snapshots()->totals())},
  };
  co_return co_await answer_json(exchange, 200, body);
}

}  // namespace thaw::gateway
