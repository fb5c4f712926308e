// Lambda's Invoke ("Invoke", AWS Lambda API Reference) for event functions: InvocationType RequestResponse and DryRun.

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

http::Task<Status> ControlApi::invoke(http::Exchange& exchange, const std::string& name, const std::string& qualifier) {
  const http::RequestHead& head = exchange.request();
  const std::string type(head.fields.find("x-amz-invocation-type"));
  if (!type.empty() && type != "RequestResponse" && type != "DryRun") {
    const bool event = type == "Event";
    co_return invalid_argument(event ? "X-Amz-Invocation-Type Event is not supported: events are not queued"
                                     : "X-Amz-Invocation-Type must be RequestResponse or DryRun");
  }
  auto context = client_context(head.fields.find("x-amz-client-context"));
  if (!context.ok()) co_return context.error();
  const auto log_tail = wants_log_tail(head.fields.find("x-amz-log-type"));
  if (!log_tail.ok()) co_return log_tail.error();
  const std::string trace_id(head.fields.find("x-amzn-trace-id"));
  // A weighted alias shares invocations out as it does requests.
  const auto record = catalog_.find({name, qualifier}, draw_weight());
  if (record == nullptr) co_return Error{ErrorKind::not_found, "Function not found: " + function_arn(name, qualifier)};
  if (record->config.kind != model::FunctionKind::event) {
    co_return invalid_argument("function " + name + " is a web function: it answers HTTP at /fn/" + name +
                               "/, and takes no events");
  }
  auto body = co_await exchange.read_whole_body(invoke::kPayloadBytesMax);
  if (!body.ok() && body.error().kind == ErrorKind::too_large) {
    co_return Error{ErrorKind::too_large, "the payload is larger than " + std::to_string(invoke::kPayloadBytesMax) +
                                              " bytes, the limit of a synchronous invocation"};
  }
  if (!body.ok()) co_return body.error();
  if (body->empty()) *body = "{}";
  if (const Status parsed = check_json(*body, "request body"); !parsed.ok()) co_return parsed;
  if (type == "DryRun") co_return co_await exchange.respond({.status = 204});

  events::EventRequest request;
  request.record = record;
  request.request_id = random_uuid();
  request.function_arn = function_arn(record->config.name, qualifier);
  request.payload = std::move(*body);
  request.client_context = std::move(*context);
  request.trace_id = trace_id;
  request.log_tail = *log_tail;
  const std::string id = request.request_id;
  const events::EventResult result = co_await invoker_.run(exchange.loop(), std::move(request));
  if (!result.status.ok()) co_return result.status;
  std::string fields = "x-amzn-RequestId: " + id + "\r\nX-Amz-Executed-Version: " + result.executed_version + "\r\n";
  if (!result.function_error.empty()) fields += "X-Amz-Function-Error: " + result.function_error + "\r\n";
  if (*log_tail) fields += "X-Amz-Log-Result: " + base64_encoded(result.log_tail) + "\r\n";
  co_return co_await exchange.respond({.status = 200, .body = result.payload, .extra_fields = fields});
}

}  // namespace thaw::gateway
