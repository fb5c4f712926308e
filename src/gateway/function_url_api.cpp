// Lambda's operations on the URLs of functions: CreateFunctionUrlConfig, UpdateFunctionUrlConfig, GetFunctionUrlConfig,
// DeleteFunctionUrlConfig, ListFunctionUrlConfigs (AWS Lambda API Reference).

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "base/log.h"
#include "base/timestamp.h"
#include "control/function_settings.h"
#include "gateway/function_json.h"
#include "gateway/settings_api.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr auto kKind = control::SettingKind::function_url;
constexpr std::size_t kLabelBytesMax = 63;  // RFC 1035

bool is_label(std::string_view text) {
  const auto is_character = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !text.empty() && text.size() <= kLabelBytesMax && std::all_of(text.begin(), text.end(), is_character) &&
         text.front() != '-' && text.back() != '-';
}

// Names of hosts lose their case on the way; aliases are told apart by it.
bool keeps_meaning(std::string_view qualifier) {
  return std::none_of(qualifier.begin(), qualifier.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

std::string url_of(const std::string& name, const std::string& qualifier, std::uint16_t port) {
  const std::string at = ".localhost:" + std::to_string(port) + "/";
  if (is_label(name) && qualifier.empty()) return "http://" + name + at;
  if (is_label(name) && is_label(qualifier) && keeps_meaning(qualifier)) return "http://" + qualifier + "." + name + at;
  return "http://localhost:" + std::to_string(port) + "/fn/" + name + (qualifier.empty() ? "" : ":") + qualifier + "/";
}

}  // namespace

Result<boost::json::object> SettingsApi::url_json(const std::string& name, const control::Setting& setting) const {
  ASSIGN_OR_RETURN(const model::FunctionUrlConfig config, model::function_url_from_json(setting.json));
  boost::json::object object = model::to_json(config);
  object["FunctionUrl"] = url_of(name, setting.qualifier, port_);
  object["FunctionArn"] = function_arn(name, setting.qualifier);
  return object;
}

http::Task<Status> SettingsApi::url(const Call& call) {
  if (model::version_number(call.qualifier))
    co_return invalid_argument("Qualifier must be an alias or $LATEST: a version has no URL of its own");
  if (call.method == "POST") co_return co_await create_url(call);
  if (call.method == "PUT") co_return co_await update_url(call);
  if (call.method == "DELETE") co_return co_await remove(call, kKind);
  if (call.method != "GET") co_return no_method();
  const auto text = catalog_.setting(call.name, kKind, call.qualifier);
  if (text == nullptr) {
    co_return Error{ErrorKind::not_found, "The resource you requested does not exist: " +
                                              function_arn(call.name, call.qualifier) + " has no function URL"};
  }
  const auto object = url_json(call.name, {.kind = kKind, .qualifier = call.qualifier, .json = *text});
  if (!object.ok()) co_return object.error();
  co_return co_await answer_json(call.exchange, 200, *object);
}

http::Task<Status> SettingsApi::create_url(const Call& call) {
  const auto body = co_await read_json(call.exchange);
  if (!body.ok()) co_return body.error();
  if (!body->contains("AuthType")) co_return invalid_argument("AuthType is missing: it must be NONE or AWS_IAM");
  model::FunctionUrlConfig config;
  if (const Status good = model::apply(*body, config); !good.ok()) co_return good;
  config.creation_time = config.last_modified_time = timestamp_now();
  control::Setting made{
      .kind = kKind, .qualifier = call.qualifier, .json = boost::json::serialize(model::to_json(config))};
  const Status done = co_await edit(call, kKind, [&](const std::string* before) -> Result<std::string> {
    if (before == nullptr) return made.json;
    return Error{ErrorKind::conflict,
                 "FunctionUrlConfig exists for this Lambda function: " + function_arn(call.name, call.qualifier)};
  });
  if (!done.ok()) co_return done;
  log::info("function_url_created name={} qualifier={}", call.name, call.qualifier);
  const auto object = url_json(call.name, made);
  if (!object.ok()) co_return object.error();
  co_return co_await answer_json(call.exchange, 201, *object);
}

http::Task<Status> SettingsApi::update_url(const Call& call) {
  const auto body = co_await read_json(call.exchange);
  if (!body.ok()) co_return body.error();
  control::Setting made{.kind = kKind, .qualifier = call.qualifier};
  const Status done = co_await edit(call, kKind, [&](const std::string* before) -> Result<std::string> {
    if (before == nullptr) {
      return Error{ErrorKind::not_found, "The resource you requested does not exist: " +
                                             function_arn(call.name, call.qualifier) + " has no function URL"};
    }
    ASSIGN_OR_RETURN(model::FunctionUrlConfig config, model::function_url_from_json(*before));
    RETURN_IF_ERROR(model::apply(*body, config));
    config.last_modified_time = timestamp_now();
    made.json = boost::json::serialize(model::to_json(config));
    return made.json;
  });
  if (!done.ok()) co_return done;
  const auto object = url_json(call.name, made);
  if (!object.ok()) co_return object.error();
  co_return co_await answer_json(call.exchange, 200, *object);
}

http::Task<Status> SettingsApi::list_urls(const Call& call) {
  Listing listing{.kind = kKind, .name = "FunctionUrlConfigs", .item = [this, &call](const control::Setting& setting) {
                    return url_json(call.name, setting);
                  }};
  co_return co_await list(call, std::move(listing));
}

}  // namespace thaw::gateway
