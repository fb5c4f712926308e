// An invocation of an event function: what goes to its runtime, and what comes back ("Using the Lambda runtime API",
// AWS Lambda Developer Guide).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/loop.h"

namespace thaw::invoke {

// Lambda's limit ("Lambda quotas", AWS Lambda Developer Guide).
inline constexpr std::size_t kPayloadBytesMax = 6291556;  // of a synchronous event, and of its response
// "Response streaming functions can return payloads up to 200 MB" ("Response streaming for Lambda functions", the
// same).
inline constexpr std::uint64_t kStreamedBytesMax = 200ULL << 20;

class ResponseStream;

struct Event {
  std::string request_id;
  std::string function_arn;    // as it was invoked, with its qualifier
  std::string payload;         // JSON
  std::string client_context;  // JSON, decoded; may be empty
  std::string trace_id;        // X-Amzn-Trace-Id; may be empty
  http::TimePoint deadline;    // the response must be whole by then
  // Takes a response that the runtime streams. Without it such a one is gathered as one that comes whole.
  std::shared_ptr<ResponseStream> stream;
};

struct EventOutcome {
  // timeout: past the deadline. unavailable: the environment ended, or its runtime went away. function_failed: the
  // runtime broke the protocol.
  Status status;
  // The runtime has reported an error; `payload` is its JSON then.
  bool function_error = false;
  std::string error_type;  // Lambda-Runtime-Function-Error-Type, or the errorType of the payload
  // The whole response, at most kPayloadBytesMax; of one that went into the event's stream nothing, or its error's
  // JSON.
  std::string payload;
};

// Milliseconds since 1970, as runtimes and extensions are told of deadlines.
std::int64_t epoch_ms(http::TimePoint at);
// {"errorType": …, "errorMessage": …}: how functions, the Runtime API and Invoke say what went wrong.
std::string error_document(std::string_view type, std::string_view message);

}  // namespace thaw::invoke
