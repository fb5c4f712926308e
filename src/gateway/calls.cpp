// What a function asks for at THAW_URL, from inside its environment: a part of the gateway (docs/calls.md). Who calls
// is known by the listener, so nothing has to be signed; what changes functions, or tells of them, is not there.

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "base/uuid.h"
#include "gateway/answers.h"
#include "gateway/gateway.h"
#include "invoke/forward.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

// What a function has passed on of the request that it answers; one that passes nothing on is counted all the same, by
// its environment.
std::uint32_t hops_said(const http::RequestHead& request) {
  const std::string_view text = request.fields.find(invoke::kHopsField);
  std::uint32_t hops = 0;
  std::from_chars(text.data(), text.data() + text.size(), hops);
  return std::min(hops, model::kCallHopsMax);
}

// Whether a function may be behind it, which calls in its turn.
bool leads_on(RouteKind kind) {
  return kind == RouteKind::function || kind == RouteKind::openai || kind == RouteKind::control;
}

Error loop_error(const pool::Caller& caller) {
  return {ErrorKind::forbidden,
          "function " + caller.function + " is itself called by a chain of " + std::to_string(model::kCallHopsMax) +
              " calls, as many as may be: do functions call each other in a circle?",
          kLoopDetected};
}

}  // namespace

http::Task<> Gateway::handle_call(http::Exchange& exchange, pool::Caller caller) {
  const http::RequestHead& request = exchange.request();
  auto route = gateway::route(request.fields.find("host"), request.target);
  const CallAccess access = route.ok() ? call_access(*route) : CallAccess::unknown;
  if (access == CallAccess::refused) {
    const Error refused(ErrorKind::forbidden,
                        "the control API is not for functions: at THAW_URL there are /fn/NAME/, /v1/, and of Lambda's "
                        "API /2015-03-31/functions/NAME/invocations");
    co_await answer_control_error(exchange, refused);
    co_return;
  }
  if (access == CallAccess::unknown && route.ok()) route->kind = RouteKind::unknown;
  if (route.ok() && (access == CallAccess::allowed || access == CallAccess::invoke)) {
    route->hops = std::max(caller.hops, hops_said(request)) + 1;
    route->waiting = std::move(caller.waiting);
    if (route->hops > model::kCallHopsMax && leads_on(route->kind)) {
      const Error loop = loop_error(caller);
      log::warn("call_loop function={} version={}", caller.function, caller.version);
      co_return co_await refuse_call(exchange, *route, loop);
    }
  }
  if (access == CallAccess::invoke) co_return co_await control_.handle_call(exchange, *route);
  co_return co_await answer_own(exchange, std::move(route));
}

// In the words of the API that the caller speaks.
http::Task<> Gateway::refuse_call(http::Exchange& exchange, const Route& route, const Error& error) {
  if (route.kind == RouteKind::control) {
    co_await answer_control_error(exchange, error);
  } else if (route.kind == RouteKind::openai) {
    co_await answer_openai_error(exchange, error, random_uuid());
  } else {
    co_await answer_error(exchange, error, random_uuid());
  }
}

}  // namespace thaw::gateway
