// Lambda's operations on provisioned concurrency: PutProvisionedConcurrencyConfig, GetProvisionedConcurrencyConfig,
// DeleteProvisionedConcurrencyConfig, ListProvisionedConcurrencyConfigs (AWS Lambda API Reference).

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "base/log.h"
#include "base/timestamp.h"
#include "gateway/function_json.h"
#include "gateway/settings_api.h"
#include "http/off_loop.h"
#include "model/settings.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr auto kKind = control::SettingKind::provisioned_concurrency;

Status check_room(const model::FunctionRecord& version, std::uint32_t executions, std::uint64_t memory_bytes_max) {
  const model::FunctionConfig& config = version.config;
  if (config.snapshot) {
    return invalid_argument(
        "provisioned concurrency is not possible for a version with SnapStart: it starts from its snapshot");
  }
  if (executions > config.environments_max) {
    return invalid_argument("ProvisionedConcurrentExecutions is " + std::to_string(executions) +
                            ", but the version has at most " + std::to_string(config.environments_max) +
                            " environments (environments_max)");
  }
  if ((std::uint64_t{config.memory_mb} << 20) * executions <= memory_bytes_max) return {};
  return invalid_argument("ProvisionedConcurrentExecutions is " + std::to_string(executions) + " of " +
                          std::to_string(config.memory_mb) + " MB each, but this host admits " +
                          std::to_string(memory_bytes_max >> 20) + " MB in all");
}

}  // namespace

Result<boost::json::object> SettingsApi::provisioned_json(const std::string& name,
                                                          const control::Setting& setting) const {
  ASSIGN_OR_RETURN(const model::ProvisionedConcurrency config, model::provisioned_concurrency_from_json(setting.json));
  const auto version = catalog_.find({name, setting.qualifier}, 1);
  pool::ProvisionView view;
  if (version != nullptr && version->version != model::kLatestVersion) {
    view = provisioner_.view(*version);
  } else {
    view.error = "the alias names $LATEST, which has no provisioned concurrency";
  }
  const bool ready = view.available >= config.executions;
  boost::json::object object;
  object["RequestedProvisionedConcurrentExecutions"] = config.executions;
  object["AllocatedProvisionedConcurrentExecutions"] = std::min(view.allocated, config.executions);
  object["AvailableProvisionedConcurrentExecutions"] = std::min(view.available, config.executions);
  object["Status"] = ready ? "READY" : view.error.empty() ? "IN_PROGRESS" : "FAILED";
  if (!ready && !view.error.empty()) object["StatusReason"] = view.error;
  object["LastModified"] = config.last_modified;
  return object;
}

http::Task<Status> SettingsApi::provisioned(const Call& call) {
  if (call.method == "GET" && value_of(call.query, "List") == "ALL") co_return co_await list_provisioned(call);
  if (call.qualifier.empty()) {
    co_return invalid_argument(
        "Qualifier must be the number of a version, or an alias: provisioned concurrency is not possible for $LATEST");
  }
  const auto stored = catalog_.setting(call.name, kKind, call.qualifier);
  if (call.method == "PUT") co_return co_await put_provisioned(call);
  if (call.method == "DELETE") {
    // There may be none.
    if (stored == nullptr) co_return co_await call.exchange.respond({.status = 204});
    const Status removed = co_await remove(call, kKind);
    provisioner_.follow();
    co_return removed;
  }
  if (call.method != "GET") co_return no_method();
  if (stored == nullptr) {
    co_return Error{ErrorKind::not_found, "No Provisioned Concurrency Config found for this function",
                    "ProvisionedConcurrencyConfigNotFoundException"};
  }
  const auto object = provisioned_json(call.name, {.kind = kKind, .qualifier = call.qualifier, .json = *stored});
  if (!object.ok()) co_return object.error();
  co_return co_await answer_json(call.exchange, 200, *object);
}

Status SettingsApi::check_provisioned(const Call& call, std::uint32_t executions) const {
  const auto version = catalog_.find({call.name, call.qualifier}, 1);
  if (version == nullptr) return no_function(function_arn(call.name, call.qualifier));
  if (version->version == model::kLatestVersion)
    return invalid_argument("the alias names $LATEST: provisioned concurrency is possible for published versions only");
  RETURN_IF_ERROR(check_room(*version, executions, provisioner_.pool().memory_bytes_max()));
  for (const control::Setting& other : catalog_.settings(call.name, kKind)) {
    if (other.qualifier == call.qualifier) continue;
    const auto of_other = catalog_.find({call.name, other.qualifier}, 1);
    if (of_other != nullptr && of_other->version == version->version) {
      return invalid_argument("version " + version->version + " has provisioned concurrency already, as " +
                              other.qualifier);
    }
  }
  return gate_.check_provisioned({call.name, call.qualifier}, executions);
}

http::Task<Status> SettingsApi::put_provisioned(const Call& call) {
  const auto body = co_await read_json(call.exchange);
  if (!body.ok()) co_return body.error();
  model::ProvisionedConcurrency config;
  if (const Status good = model::apply(*body, config); !good.ok()) co_return good;
  config.last_modified = timestamp_now();
  control::Setting made{
      .kind = kKind, .qualifier = call.qualifier, .json = boost::json::serialize(model::to_json(config))};
  const Status done = co_await edit(call, kKind, [&](const std::string*) -> Result<std::string> {
    RETURN_IF_ERROR(check_provisioned(call, config.executions));
    return made.json;
  });
  if (!done.ok()) co_return done;
  provisioner_.follow();
  log::info("provisioned_concurrency_put name={} qualifier={} executions={}", call.name, call.qualifier,
            config.executions);
  const auto object = provisioned_json(call.name, made);
  if (!object.ok()) co_return object.error();
  co_return co_await answer_json(call.exchange, 202, *object);
}

http::Task<Status> SettingsApi::list_provisioned(const Call& call) {
  Listing listing{.kind = kKind,
                  .name = "ProvisionedConcurrencyConfigs",
                  .item = [this, &call](const control::Setting& setting) -> Result<boost::json::object> {
                    ASSIGN_OR_RETURN(boost::json::object object, provisioned_json(call.name, setting));
                    object["FunctionArn"] = function_arn(call.name, setting.qualifier);
                    return object;
                  }};
  co_return co_await list(call, std::move(listing));
}

}  // namespace thaw::gateway
