#include "gateway/event_request.h"

#include "gateway/cors.h"
#include "gateway/function_json.h"
#include "gateway/http_answer.h"
#include "gateway/http_event.h"
#include "gateway/streamed_answer.h"

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

PayloadFormat format_of(const model::FunctionConfig& config) {
  return config.http_payload == "1.0" ? PayloadFormat::v1 : PayloadFormat::v2;
}

// What follows the stage at the target's beginning, with its slash; nothing where the target is not below it.
std::optional<std::string> without_stage(std::string_view target, std::string_view stage) {
  if (stage.empty()) return std::string(target);
  const std::string_view path = target.substr(0, target.find('?'));
  const bool below =
      path.substr(1, stage.size()) == stage && (path.size() == stage.size() + 1 || path[stage.size() + 1] == '/');
  if (!below) return std::nullopt;
  const std::string_view rest = target.substr(stage.size() + 1);
  return rest.starts_with('/') ? std::string(rest) : "/" + std::string(rest);
}

http::Task<Status> respond(http::Exchange& exchange, const HttpAnswer& answer, const std::string& request_id) {
  const std::string fields = answer_fields(exchange, answer, request_id);
  co_return co_await exchange.respond(
      {.status = answer.status, .content_type = answer.content_type, .body = answer.body, .extra_fields = fields});
}

// As the two kinds of URLs write it.
std::string message_body(PayloadFormat format, std::string_view text) {
  return std::string(format == PayloadFormat::v1 ? "{\"message\":\"" : "{\"Message\":\"") + std::string(text) + "\"}";
}

http::Task<Status> refuse(http::Exchange& exchange, int status, PayloadFormat format, std::string_view text,
                          const std::string& request_id) {
  HttpAnswer refusal;
  refusal.status = status;
  refusal.body = message_body(format, text);
  co_return co_await respond(exchange, refusal, request_id);
}

}  // namespace

http::Task<Status> EventRequests::answer(http::Exchange& exchange, const Route& route,
                                         std::shared_ptr<const model::FunctionRecord> record, std::string request_id,
                                         model::InvokeMode mode) {
  const std::string name = record->config.name;
  const PayloadFormat format = format_of(record->config);
  const auto target = without_stage(route.target, record->config.http_stage);
  if (!target) co_return co_await refuse(exchange, 403, format, "Forbidden", request_id);
  auto body = co_await exchange.read_whole_body(invoke::kPayloadBytesMax);
  if (!body.ok() && body.error().kind == ErrorKind::too_large) co_return too_large();
  if (!body.ok()) co_return body.error();
  const HttpCall call{.head = exchange.request(),
                      .target = *target,
                      .prefix = route.prefix,
                      .format = format,
                      .stage = record->config.http_stage,
                      .body = *body,
                      .source_ip = source_ip(exchange.peer()),
                      .function_name = name,
                      .request_id = request_id,
                      .at = std::chrono::system_clock::now()};
  auto event = http_event(call);
  if (!event.ok()) co_return event.error();
  // Base64 makes a third more of a body.
  if (event->size() > invoke::kPayloadBytesMax) co_return too_large();
  events::EventRequest request;
  request.record = std::move(record);
  request.request_id = request_id;
  const auto qualifier = http::percent_decode(route.qualifier);
  request.function_arn = function_arn(name, qualifier.ok() ? *qualifier : std::string());
  request.payload = *std::move(event);
  request.hops = route.hops;
  request.waiting = route.waiting;
  request.trace_id = exchange.request().fields.find("x-amzn-trace-id");
  StreamedAnswer streamed(exchange, request_id);
  if (mode == model::InvokeMode::response_stream) request.sink = &streamed;
  events::EventResult result = co_await invoker_.run(exchange.loop(), std::move(request));
  if (result.streamed) {
    Status finished = co_await streamed.finish(result);
    if (finished.ok() || exchange.responded()) co_return finished;
    if (result.status.ok()) logs_.of(name)->append(request_id + " " + finished.error().message + "\n");
    co_return co_await refuse(exchange, 502, format, "Internal Server Error", request_id);
  }
  if (!result.status.ok()) co_return result.status;
  if (result.function_error.empty()) {
    const auto answer = http_answer(std::move(result.payload), format);
    if (answer.ok()) co_return co_await respond(exchange, *answer, request_id);
    logs_.of(name)->append(request_id + " " + answer.error().message + "\n");
  }
  co_return co_await refuse(exchange, 502, format, "Internal Server Error", request_id);
}

}  // namespace thaw::gateway
