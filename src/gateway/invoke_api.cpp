// Lambda's Invoke ("Invoke", AWS Lambda API Reference) for event functions; events_api.cpp has InvocationType Event.

#include <boost/json.hpp>

#include "base/base64.h"
#include "base/uuid.h"
#include "gateway/answers.h"
#include "gateway/control_api.h"
#include "gateway/function_json.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

// "up to 3,583 bytes of base64-encoded data".
constexpr std::size_t kClientContextBytesMax = 3583;
constexpr std::size_t kDepthMax = 500;  // of nested objects and arrays

Status check_json(std::string_view text, std::string_view what) {
  boost::json::parse_options options;
  options.max_depth = kDepthMax;
  boost::json::stream_parser parser({}, options);
  boost::json::error_code code;
  parser.write(text.data(), text.size(), code);
  if (!code) parser.finish(code);
  if (!code) return {};
  return Error{ErrorKind::invalid_argument, "Could not parse " + std::string(what) + " into json: " + code.message(),
               "InvalidRequestContentException"};
}

// Whether the caller asks for the end of the log.
Result<bool> wants_log_tail(std::string_view log_type) {
  if (log_type.empty() || log_type == "None") return false;
  if (log_type == "Tail") return true;
  return invalid_argument("X-Amz-Log-Type must be None or Tail");
}

// It becomes a header of the Runtime API: one line of JSON.
Result<std::string> client_context(std::string_view encoded) {
  if (encoded.empty()) return std::string();
  if (encoded.size() > kClientContextBytesMax) {
    return Error{ErrorKind::invalid_argument, "X-Amz-Client-Context is " + std::to_string(encoded.size()) +
                                                  " bytes; at most " + std::to_string(kClientContextBytesMax) +
                                                  " are possible"};
  }
  const auto decoded = base64_decoded(encoded);
  if (!decoded)
    return Error{ErrorKind::invalid_argument, "X-Amz-Client-Context is not base64", "InvalidRequestContentException"};
  boost::json::error_code code;
  const boost::json::value value = boost::json::parse(*decoded, code);
  if (code) {
    return Error{ErrorKind::invalid_argument, "Could not parse client context into json: " + code.message(),
                 "InvalidRequestContentException"};
  }
  return boost::json::serialize(value);
}

}  // namespace

http::Task<Result<events::EventRequest>> ControlApi::read_invocation(http::Exchange& exchange, const std::string& name,
                                                                     const std::string& qualifier,
                                                                     std::size_t payload_bytes_max) {
  const http::Fields& fields = exchange.request().fields;
  auto context = client_context(fields.find("x-amz-client-context"));
  if (!context.ok()) co_return context.error();
  const auto log_tail = wants_log_tail(fields.find("x-amz-log-type"));
  if (!log_tail.ok()) co_return log_tail.error();
  events::EventRequest request;
  request.request_id = random_uuid();
  exchange.set_own_fields("x-amzn-RequestId: " + request.request_id + "\r\n");
  request.client_context = std::move(*context);
  request.trace_id = fields.find("x-amzn-trace-id");
  request.log_tail = *log_tail;
  // A weighted alias shares invocations out as it does requests.
  request.record = catalog_.find({name, qualifier}, draw_weight());
  if (request.record == nullptr)
    co_return Error{ErrorKind::not_found, "Function not found: " + function_arn(name, qualifier)};
  if (request.record->config.kind != model::FunctionKind::event) {
    co_return invalid_argument("function " + name + " is a web function: it answers HTTP at /fn/" + name +
                               "/, and takes no events");
  }
  request.function_arn = function_arn(request.record->config.name, qualifier);
  auto body = co_await exchange.read_whole_body(payload_bytes_max);
  if (!body.ok() && body.error().kind == ErrorKind::too_large) {
    co_return Error{ErrorKind::too_large, "the payload is larger than " + std::to_string(payload_bytes_max) +
                                              " bytes, the limit of this invocation type"};
  }
  if (!body.ok()) co_return body.error();
  if (body->empty()) *body = "{}";
  if (const Status parsed = check_json(*body, "request body"); !parsed.ok()) co_return parsed.error();
  request.payload = std::move(*body);
  co_return request;
}

http::Task<Status> ControlApi::invoke(http::Exchange& exchange, const std::string& name, const std::string& qualifier,
                                      const Route* call) {
  const std::string type(exchange.request().fields.find("x-amz-invocation-type"));
  const bool event = type == "Event";
  if (!type.empty() && type != "RequestResponse" && type != "DryRun" && !event) {
    co_return invalid_argument("X-Amz-Invocation-Type must be RequestResponse, Event or DryRun");
  }
  auto request = co_await read_invocation(exchange, name, qualifier,
                                          event ? events::kEventPayloadBytesMax : invoke::kPayloadBytesMax);
  if (!request.ok()) co_return request.error();
  if (call != nullptr) request->hops = call->hops;
  // Nobody waits for an event that is accepted for later.
  if (call != nullptr && !event) request->waiting = call->waiting;
  if (type == "DryRun") co_return co_await exchange.respond({.status = 204});
  if (event) co_return co_await accept_event(exchange, std::move(*request), qualifier);
  const bool log_tail = request->log_tail;
  const events::EventResult result = co_await invoker_.run(exchange.loop(), std::move(*request));
  if (!result.status.ok()) co_return result.status;
  std::string fields = "X-Amz-Executed-Version: " + result.executed_version + "\r\n";
  if (!result.function_error.empty()) fields += "X-Amz-Function-Error: " + result.function_error + "\r\n";
  if (log_tail) fields += "X-Amz-Log-Result: " + base64_encoded(result.log_tail) + "\r\n";
  co_return co_await exchange.respond({.status = 200, .body = result.payload, .extra_fields = fields});
}

}  // namespace thaw::gateway
