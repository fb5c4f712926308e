// Lambda's operations on what becomes of events: PutFunctionEventInvokeConfig, UpdateFunctionEventInvokeConfig,
// GetFunctionEventInvokeConfig, DeleteFunctionEventInvokeConfig, ListFunctionEventInvokeConfigs (AWS Lambda API
// Reference).

#include <boost/json/serialize.hpp>
#include <chrono>

#include "base/log.h"
#include "control/function_settings.h"
#include "gateway/function_json.h"
#include "gateway/settings_api.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr auto kKind = control::SettingKind::event_invoke;

std::string arn_of(const std::string& name, const std::string& qualifier) {
  return function_arn(name, qualifier.empty() ? model::kLatestVersion : std::string_view(qualifier));
}

Error none_there(const std::string& name, const std::string& qualifier) {
  return {ErrorKind::not_found, "The function " + arn_of(name, qualifier) + " doesn't have an EventInvokeConfig"};
}

Result<boost::json::object> event_invoke_json(const std::string& name, const control::Setting& setting) {
  ASSIGN_OR_RETURN(const model::EventInvokeConfig config, model::event_invoke_from_json(setting.json));
  boost::json::object object = model::to_json(config);
  object["FunctionArn"] = arn_of(name, setting.qualifier);
  return object;
}

std::int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

http::Task<Status> SettingsApi::event_invoke(const Call& call) {
  if (call.method == "PUT" || call.method == "POST") co_return co_await change_event_invoke(call);
  const auto text = catalog_.setting(call.name, kKind, call.qualifier);
  if (call.method != "GET" && call.method != "DELETE") co_return no_method();
  if (text == nullptr) co_return none_there(call.name, call.qualifier);
  if (call.method == "DELETE") co_return co_await remove(call, kKind);
  const auto object = event_invoke_json(call.name, {.kind = kKind, .qualifier = call.qualifier, .json = *text});
  if (!object.ok()) co_return object.error();
  co_return co_await answer_json(call.exchange, 200, *object);
}

// PUT makes it what the body says, POST changes what the body names.
http::Task<Status> SettingsApi::change_event_invoke(const Call& call) {
  const auto body = co_await read_json(call.exchange);
  if (!body.ok()) co_return body.error();
  control::Setting made{.kind = kKind, .qualifier = call.qualifier};
  const Status done = co_await edit(call, kKind, [&](const std::string* before) -> Result<std::string> {
    model::EventInvokeConfig config;
    if (call.method == "POST") {
      if (before == nullptr) return none_there(call.name, call.qualifier);
      ASSIGN_OR_RETURN(config, model::event_invoke_from_json(*before));
    }
    RETURN_IF_ERROR(model::apply(*body, config));
    config.last_modified_s = now_s();
    made.json = boost::json::serialize(model::to_json(config));
    return made.json;
  });
  if (!done.ok()) co_return done;
  log::info("event_invoke_config_changed name={} qualifier={}", call.name, call.qualifier);
  const auto object = event_invoke_json(call.name, made);
  if (!object.ok()) co_return object.error();
  co_return co_await answer_json(call.exchange, 200, *object);
}

http::Task<Status> SettingsApi::list_event_invokes(const Call& call) {
  Listing listing{.kind = kKind,
                  .name = "FunctionEventInvokeConfigs",
                  .item = [&call](const control::Setting& setting) { return event_invoke_json(call.name, setting); }};
  co_return co_await list(call, std::move(listing));
}

}  // namespace thaw::gateway
