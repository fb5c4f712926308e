#include "gateway/gateway.h"

#include "base/uuid.h"
#include "gateway/answers.h"

namespace thaw::gateway {

Gateway::Gateway(control::Catalog& catalog, control::ConcurrencyGate& gate, pool::Pool& pool,
                 observe::FunctionLogs& logs, GatewayOptions options)
    : catalog_(catalog),
      gate_(gate),
      pool_(pool),
      event_requests_(invoker_, logs),
      options_(options),
      control_(catalog, gate, pool, logs, options_),
      openai_(catalog, options_.body_bytes_max) {}

// Not a coroutine: the way of every invocation leads through here.
http::Task<> Gateway::handle(http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  auto route = gateway::route(request.fields.find("host"), request.target);
  if (route.ok() && route->kind == RouteKind::function) return invoke(exchange, *route, nullptr);
  return answer_own(exchange, std::move(route));
}

http::Task<> Gateway::answer_own(http::Exchange& exchange, Result<Route> route) {
  if (!route.ok()) {
    co_await answer_error(exchange, route.error(), random_uuid());
    co_return;
  }
  switch (route->kind) {
    case RouteKind::function:
      co_return co_await invoke(exchange, *route, nullptr);
    case RouteKind::function_redirect:
      co_return co_await redirect(exchange, *route);
    case RouteKind::openai:
      co_return co_await answer_openai(exchange, *route);
    case RouteKind::control:
      co_return co_await control_.handle(exchange, route->target);
    case RouteKind::features:
      if (features_ == nullptr) break;
      co_return co_await answer_features(exchange, *route);
    case RouteKind::health:
      co_await exchange.respond({.body = "{\"status\":\"ok\"}\n"});
      co_return;
    case RouteKind::home:
      co_return co_await home(exchange);
    case RouteKind::unknown:
      break;
  }
  const Error unknown(ErrorKind::not_found,
                      "nothing is served here: functions answer at /fn/NAME/, at NAME.localhost, and at /v1/ by model");
  co_await answer_error(exchange, unknown, random_uuid());
}

http::Task<> Gateway::answer_openai(http::Exchange& exchange, Route route) {
  const std::string request_id = random_uuid();
  std::optional<Error> refused;
  if (exchange.request().method == "GET") {
    Status done = co_await openai_.get(exchange, route.target, request_id);
    if (!done.ok()) refused = done.error();
  } else {
    auto call = co_await openai_.read_call(exchange);
    if (call.ok()) {
      route.function_name = call->function_name;
      route.qualifier = call->qualifier;
      co_return co_await invoke(exchange, route, &call->body);
    }
    refused = call.error();
  }
  if (refused && !exchange.responded() && !exchange.client_gone())
    co_await answer_openai_error(exchange, *refused, request_id);
}

http::Task<> Gateway::answer_features(http::Exchange& exchange, Route route) {
  const std::string_view path = route.target.substr(0, route.target.find('?'));
  // Calls of functions are known by their listener.
  if (is_feature_write(path) && route.hops == 0) {
    const Status admitted = co_await control_.admit(exchange);
    if (!admitted.ok()) {
      co_await answer_error(exchange, admitted.error(), random_uuid());
      co_return;
    }
  }
  co_await features_->handle(exchange, route.target);
}

http::Task<> Gateway::redirect(http::Exchange& exchange, const Route& route) {
  // Relative links of the function's pages need the slash.
  std::string location = std::string(route.prefix) + "/";
  if (const std::size_t query = route.target.find('?'); query != std::string_view::npos)
    location += route.target.substr(query);
  const std::string fields = "Location: " + location + "\r\n";
  co_await exchange.respond({.status = 307, .body = "{}\n", .extra_fields = fields});
}

http::Task<> Gateway::home(http::Exchange& exchange) {
  const std::string body = "{\"name\":\"thaw\",\"version\":" + json_quoted(options_.version) +
                           ",\"functions\":\"/fn/NAME/\",\"health\":\"/healthz\",\"status\":\"/thaw/v1/status\"}\n";
  co_await exchange.respond({.body = body});
}

}  // namespace thaw::gateway
