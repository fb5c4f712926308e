#include "invoke/extensions_api.h"

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>

#include "base/uuid.h"
#include "http/awaited.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::invoke {
namespace {

constexpr std::size_t kRegistrationBytesMax = 64 << 10;
constexpr std::size_t kNameBytesMax = 128;
constexpr std::string_view kInvoke = "INVOKE";
constexpr std::string_view kShutdown = "SHUTDOWN";

http::Task<> forbid(http::Exchange& exchange, Error error) {
  const std::string body = error_document(error.code, error.message);
  co_await exchange.respond({.status = 403, .body = body});
}

Error forbidden(const char* type, std::string message) { return {ErrorKind::forbidden, std::move(message), type}; }

// "events" of a registration; none is possible.
Result<std::vector<std::string>> parse_events(std::string_view body) {
  const Error malformed = forbidden("InvalidRequestFormat", "the body is not {\"events\": [\"INVOKE\", \"SHUTDOWN\"]}");
  boost::json::error_code code;
  const boost::json::value document = boost::json::parse(body, code);
  if (code || !document.is_object()) return malformed;
  std::vector<std::string> events;
  const boost::json::value* list = document.get_object().if_contains("events");
  if (list == nullptr || list->is_null()) return events;
  if (!list->is_array() || list->get_array().size() > 2) return malformed;
  for (const boost::json::value& event : list->get_array()) {
    if (!event.is_string()) return malformed;
    events.emplace_back(event.get_string());
  }
  return events;
}

std::string invocation_text(const Event& event) {
  boost::json::object document{{"eventType", kInvoke},
                               {"deadlineMs", epoch_ms(event.deadline)},
                               {"requestId", event.request_id},
                               {"invokedFunctionArn", event.function_arn}};
  if (!event.trace_id.empty())
    document["tracing"] = boost::json::object{{"type", "X-Amzn-Trace-Id"}, {"value", event.trace_id}};
  return boost::json::serialize(document);
}

}  // namespace

ExtensionsApi::ExtensionsApi(FunctionIdentity function, OnChange on_change)
    : function_(std::move(function)), on_change_(std::move(on_change)) {}

void ExtensionsApi::expect(std::vector<std::string> external_names) {
  const std::lock_guard lock(mutex_);
  for (std::string& name : external_names) {
    Extension extension;
    extension.name = std::move(name);
    extension.external = true;
    extensions_.push_back(std::move(extension));
  }
}

// ---- Requests -------------------------------------------------------------------------------------------------------

http::Task<> ExtensionsApi::handle(http::Exchange& exchange, std::string_view path) {
  const std::string_view method = exchange.request().method;
  if (method == "POST" && path == "register") co_return co_await register_one(exchange);
  if (method == "GET" && path == "event/next") co_return co_await next(exchange);
  if (method == "POST" && path == "init/error")
    co_return co_await take_error(exchange, "Extension.InitError", "reported an error of its init");
  if (method == "POST" && path == "exit/error")
    co_return co_await take_error(exchange, "Extension.ExitError", "reported that it exits");
  const std::string body = error_document("InvalidPath", "the Extensions API has no such path or method");
  co_await exchange.respond({.status = 404, .body = body});
}

http::Task<> ExtensionsApi::register_one(http::Exchange& exchange) {
  const std::string name(exchange.request().fields.find("lambda-extension-name"));
  const bool with_account =
      http::has_token(exchange.request().fields.find("lambda-extension-accept-feature"), "accountId");
  const auto body = co_await exchange.read_whole_body(kRegistrationBytesMax);
  if (!body.ok()) co_return co_await forbid(exchange, forbidden("InvalidRequestFormat", body.error().message));
  const auto events = parse_events(*body);
  if (!events.ok()) co_return co_await forbid(exchange, events.error());
  const auto id = add(name, *events);
  if (!id.ok()) co_return co_await forbid(exchange, id.error());
  tell_registered(true);
  boost::json::object document{
      {"functionName", function_.name}, {"functionVersion", function_.version}, {"handler", function_.handler}};
  if (with_account) document["accountId"] = function_.account_id;
  const std::string text = boost::json::serialize(document);
  const std::string fields = "Lambda-Extension-Identifier: " + *id + "\r\n";
  co_await exchange.respond({.body = text, .extra_fields = fields});
}

Result<std::string> ExtensionsApi::add(const std::string& name, const std::vector<std::string>& events) {
  if (name.empty()) return forbidden("Extension.InvalidExtensionName", "Empty extension name");
  if (name.size() > kNameBytesMax) {
    return forbidden("Extension.InvalidExtensionName",
                     "the extension's name has more than " + std::to_string(kNameBytesMax) + " bytes");
  }
  const std::lock_guard lock(mutex_);
  auto found =
      std::find_if(extensions_.begin(), extensions_.end(), [&](const Extension& one) { return one.name == name; });
  const bool external = found != extensions_.end() && found->external;
  for (const std::string& event : events) {
    if (event == kShutdown && !external)
      return forbidden("Extension.InvalidEventType", "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension");
    if (event != kInvoke && event != kShutdown)
      return forbidden("Extension.InvalidEventType", event + ": ErrorInvalidEventType");
  }
  // Those that are expected come when they come: the init waits for them.
  if ((closed_ && !external) || ended_) {
    return forbidden("Extension.RegistrationClosed", "Extension registration closed already");
  }
  if (found != extensions_.end() && !found->id.empty())
    return forbidden("Extension.InvalidExtensionState", "Extension with this name already registered");
  if (found == extensions_.end()) {
    if (extensions_.size() >= kExtensionsMax) {
      return forbidden("Extension.TooManyExtensions",
                       "Extension limit (" + std::to_string(kExtensionsMax) + ") reached");
    }
    Extension internal;
    internal.name = name;
    extensions_.push_back(std::move(internal));
    found = std::prev(extensions_.end());
  }
  found->id = random_uuid();
  found->hears_invocations = std::find(events.begin(), events.end(), kInvoke) != events.end();
  found->hears_shutdown = std::find(events.begin(), events.end(), kShutdown) != events.end();
  return found->id;
}

Result<std::string> ExtensionsApi::identifier(const http::Exchange& exchange) {
  const std::string id(exchange.request().fields.find("lambda-extension-identifier"));
  if (id.empty())
    return forbidden("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header");
  constexpr std::size_t kUuidBytes = 36;
  if (id.size() != kUuidBytes)
    return forbidden("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier");
  const std::lock_guard lock(mutex_);
  if (find_locked(id) == nullptr)
    return forbidden("Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier");
  return id;
}

ExtensionsApi::Extension* ExtensionsApi::find_locked(std::string_view id) {
  const auto found =
      std::find_if(extensions_.begin(), extensions_.end(), [&](const Extension& one) { return one.id == id; });
  return found == extensions_.end() ? nullptr : &*found;
}

http::Task<> ExtensionsApi::next(http::Exchange& exchange) {
  const auto id = identifier(exchange);
  if (!id.ok()) co_return co_await forbid(exchange, id.error());
  bool waits = false;
  {
    const std::lock_guard lock(mutex_);
    waits = static_cast<bool>(find_locked(*id)->waiting);
  }
  // Two calls that wait would share one event.
  if (waits) {
    co_return co_await forbid(
        exchange, forbidden("Extension.InvalidExtensionState", "the extension waits for its next event already"));
  }
  const auto event = co_await http::awaited<std::optional<std::string>>(
      exchange.loop(), [&](auto done) { wait_for_event(exchange, *id, std::move(done)); });
  exchange.set_on_client_gone({});
  if (!event) {
    exchange.close_after();
    const std::string body = error_document("Gone", "the environment ends");
    co_await exchange.respond({.status = 410, .body = body});
    co_return;
  }
  const std::string fields = "Lambda-Extension-Event-Identifier: " + random_uuid() + "\r\n";
  co_await exchange.respond({.body = *event, .extra_fields = fields});
}

void ExtensionsApi::wait_for_event(http::Exchange& exchange, const std::string& id,
                                   std::function<void(std::optional<std::string>)> done) {
  std::optional<std::string> event;
  {
    const std::lock_guard lock(mutex_);
    Extension* extension = find_locked(id);
    extension->has_waited = true;
    if (extension->pending) {
      event = std::exchange(extension->pending, std::nullopt);
    } else if (!ended_) {
      extension->waiting = std::move(done);
      exchange.set_on_client_gone([this, id] {
        std::function<void(std::optional<std::string>)> gone;
        {
          const std::lock_guard again(mutex_);
          gone = std::exchange(find_locked(id)->waiting, nullptr);
        }
        if (gone) gone(std::nullopt);
      });
    }
  }
  if (done) done(std::move(event));
  on_change_();
}

http::Task<> ExtensionsApi::take_error(http::Exchange& exchange, const char* failure_type, const char* what) {
  const auto id = identifier(exchange);
  if (!id.ok()) co_return co_await forbid(exchange, id.error());
  const std::string type(exchange.request().fields.find("lambda-extension-function-error-type"));
  if (type.empty()) {
    co_return co_await forbid(exchange,
                              forbidden("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found"));
  }
  const auto body = co_await exchange.read_whole_body(kPayloadBytesMax);
  if (!body.ok()) co_return co_await forbid(exchange, forbidden("InvalidRequestFormat", body.error().message));
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    name = find_locked(*id)->name;
  }
  fail(failure_type, "Error: extension " + name + " " + what + ": " + type);
  co_await exchange.respond({.status = 202, .body = "{\"status\":\"OK\"}\n"});
}

// ---- The launcher's requests: apps/thaw-extensions ------------------------------------------------------------------

http::Task<> ExtensionsApi::handle_launcher(http::Exchange& exchange, std::string_view path) {
  const std::string_view method = exchange.request().method;
  const std::string name(exchange.request().fields.find("lambda-extension-name"));
  const auto body = co_await exchange.read_whole_body(kRegistrationBytesMax);
  int status = 404;
  if (method == "GET" && path == "registered") {
    const bool registered = co_await http::awaited<bool>(
        exchange.loop(), [&](auto done) { wait_for_registrations(exchange, std::move(done)); });
    exchange.set_on_client_gone({});
    status = registered ? 200 : 410;
  } else if (method == "POST" && path == "lost" && body.ok()) {
    fail("Extension.Crash", "Error: extension " + name + " exited: " + *body);
    status = 200;
  } else if (method == "POST" && path == "runtime-ended") {
    runtime_ended_ = true;
    status = 200;
  }
  co_await exchange.respond({.status = status, .body = "{}\n"});
}

void ExtensionsApi::wait_for_registrations(http::Exchange& exchange, std::function<void(bool)> done) {
  {
    const std::lock_guard lock(mutex_);
    if (!ended_ && !registered_locked()) {
      on_registered_ = std::move(done);
      exchange.set_on_client_gone([this] { tell_registered(false); });
      return;
    }
  }
  done(!ended_);
}

bool ExtensionsApi::registered_locked() const {
  return std::all_of(extensions_.begin(), extensions_.end(), [](const Extension& one) { return !one.id.empty(); });
}

void ExtensionsApi::tell_registered(bool registered) {
  std::function<void(bool)> waiting;
  {
    const std::lock_guard lock(mutex_);
    if (registered && !registered_locked()) return;
    waiting = std::exchange(on_registered_, nullptr);
  }
  if (waiting) waiting(registered);
}

// ---- The host's side ------------------------------------------------------------------------------------------------

void ExtensionsApi::close_registration() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

bool ExtensionsApi::ready() {
  const std::lock_guard lock(mutex_);
  return std::all_of(extensions_.begin(), extensions_.end(), [](const Extension& one) { return one.has_waited; });
}

bool ExtensionsApi::at_rest() {
  const std::lock_guard lock(mutex_);
  return std::all_of(extensions_.begin(), extensions_.end(),
                     [](const Extension& one) { return !one.hears_invocations || (one.waiting && !one.pending); });
}

bool ExtensionsApi::any() {
  const std::lock_guard lock(mutex_);
  return !extensions_.empty();
}

bool ExtensionsApi::any_external() {
  const std::lock_guard lock(mutex_);
  return std::any_of(extensions_.begin(), extensions_.end(), [](const Extension& one) { return one.external; });
}

Status ExtensionsApi::failure() {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void ExtensionsApi::give(std::string event, bool shutdown) {
  std::vector<std::function<void(std::optional<std::string>)>> takers;
  {
    const std::lock_guard lock(mutex_);
    for (Extension& one : extensions_) {
      if (one.id.empty() || !(shutdown ? one.hears_shutdown : one.hears_invocations)) continue;
      if (one.waiting) {
        takers.push_back(std::exchange(one.waiting, nullptr));
      } else {
        one.pending = event;
      }
    }
  }
  for (const auto& taker : takers) taker(event);
}

void ExtensionsApi::begin_invocation(const Event& event) {
  if (any()) give(invocation_text(event), false);
}

void ExtensionsApi::shut_down(std::string_view reason, http::TimePoint deadline) {
  give(boost::json::serialize(boost::json::object{
           {"eventType", kShutdown}, {"shutdownReason", reason}, {"deadlineMs", epoch_ms(deadline)}}),
       true);
}

void ExtensionsApi::fail(const std::string& type, const std::string& message) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.ok()) return;
    failure_ = Error(ErrorKind::function_failed, message, type);
  }
  on_change_();
}

void ExtensionsApi::end() {
  std::vector<std::function<void(std::optional<std::string>)>> takers;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    for (Extension& one : extensions_) {
      if (one.waiting) takers.push_back(std::exchange(one.waiting, nullptr));
    }
  }
  for (const auto& taker : takers) taker(std::nullopt);
  tell_registered(false);
}

}  // namespace thaw::invoke
