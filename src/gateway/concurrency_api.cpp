// Lambda's operations on reserved concurrency: PutFunctionConcurrency, GetFunctionConcurrency,
// DeleteFunctionConcurrency (AWS Lambda API Reference).

#include <boost/json/serialize.hpp>

#include "base/log.h"
#include "control/function_settings.h"
#include "gateway/settings_api.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr auto kKind = control::SettingKind::reserved_concurrency;

Error no_qualifier() {
  return invalid_argument("a qualifier is not possible here: concurrency is the whole function's");
}

}  // namespace

http::Task<Status> SettingsApi::put_concurrency(const Call& call) {
  if (!call.qualifier.empty()) co_return no_qualifier();
  if (call.method == "DELETE") {
    // There may be none.
    if (catalog_.setting(call.name, kKind, {}) == nullptr) co_return co_await call.exchange.respond({.status = 204});
    co_return co_await remove(call, kKind);
  }
  if (call.method != "PUT") co_return no_method();
  const auto body = co_await read_json(call.exchange);
  if (!body.ok()) co_return body.error();
  model::ReservedConcurrency reserved;
  if (const Status good = model::apply(*body, reserved); !good.ok()) co_return good;
  const Status done = co_await edit(call, kKind, [&](const std::string*) -> Result<std::string> {
    RETURN_IF_ERROR(gate_.check_reservation(call.name, reserved.executions));
    return boost::json::serialize(model::to_json(reserved));
  });
  if (!done.ok()) co_return done;
  log::info("concurrency_reserved name={} executions={}", call.name, reserved.executions);
  co_return co_await answer_json(call.exchange, 200, model::to_json(reserved));
}

http::Task<Status> SettingsApi::get_concurrency(const Call& call) {
  if (!call.qualifier.empty()) co_return no_qualifier();
  if (call.method != "GET") co_return no_method();
  const auto reserved = control::reserved_concurrency(catalog_, call.name);
  if (!reserved.ok()) co_return reserved.error();
  boost::json::object answer;
  if (reserved->has_value()) answer = model::to_json(**reserved);
  co_return co_await answer_json(call.exchange, 200, answer);
}

}  // namespace thaw::gateway
