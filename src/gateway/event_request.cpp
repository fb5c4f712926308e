#include "gateway/event_request.h"

#include "gateway/function_json.h"
#include "gateway/http_event.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

Error too_large() {
  return {ErrorKind::too_large,
          "the request is larger than " + std::to_string(invoke::kPayloadBytesMax) + " bytes, the limit of an event"};
}

std::string_view source_ip(const http::Peer& peer) {
  return peer.address.empty() ? std::string_view("127.0.0.1") : std::string_view(peer.address);
}

// The request whole, as an event.
http::Task<Result<std::string>> event_of(http::Exchange& exchange, const Route& route, const std::string& name,
                                         const std::string& request_id) {
  auto body = co_await exchange.read_whole_body(invoke::kPayloadBytesMax);
  if (!body.ok() && body.error().kind == ErrorKind::too_large) co_return too_large();
  if (!body.ok()) co_return body.error();
  const HttpCall call{.head = exchange.request(),
                      .target = route.target,
                      .prefix = route.prefix,
                      .body = *body,
                      .source_ip = source_ip(exchange.peer()),
                      .function_name = name,
                      .request_id = request_id,
                      .at = std::chrono::system_clock::now()};
  auto event = http_event(call);
  // Base64 makes a third more of a body.
  if (event.ok() && event->size() > invoke::kPayloadBytesMax) co_return too_large();
  co_return event;
}

http::Task<Status> respond(http::Exchange& exchange, const HttpAnswer& answer, const std::string& request_id) {
  std::string fields = "x-amzn-RequestId: " + request_id + "\r\n";
  for (const auto& [name, value] : answer.fields) fields.append(name).append(": ").append(value).append("\r\n");
  co_return co_await exchange.respond(
      {.status = answer.status, .content_type = answer.content_type, .body = answer.body, .extra_fields = fields});
}

}  // namespace

http::Task<Status> EventRequests::answer(http::Exchange& exchange, const Route& route,
                                         std::shared_ptr<const model::FunctionRecord> record, std::string request_id) {
  const std::string name = record->config.name;
  auto event = co_await event_of(exchange, route, name, request_id);
  if (!event.ok()) co_return event.error();
  events::EventRequest request;
  request.record = std::move(record);
  request.request_id = request_id;
  const auto qualifier = http::percent_decode(route.qualifier);
  request.function_arn = function_arn(name, qualifier.ok() ? *qualifier : std::string());
  request.payload = *std::move(event);
  request.trace_id = exchange.request().fields.find("x-amzn-trace-id");
  events::EventResult result = co_await invoker_.run(exchange.loop(), std::move(request));
  if (!result.status.ok()) co_return result.status;
  if (result.function_error.empty()) {
    const auto answer = http_answer(std::move(result.payload));
    if (answer.ok()) co_return co_await respond(exchange, *answer, request_id);
    logs_.of(name)->append(request_id + " " + answer.error().message + "\n");
  }
  HttpAnswer failed;
  failed.status = 502;
  failed.body = "{\"Message\":\"Internal Server Error\"}";
  co_return co_await respond(exchange, failed, request_id);
}

}  // namespace thaw::gateway
