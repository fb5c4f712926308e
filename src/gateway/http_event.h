// An HTTP request as the event that a function gets; http_answer.h has the way back.
//
//   2.0   as Lambda's function URLs send it ("Creating and managing Lambda function URLs: request and response
//   payloads",
//         AWS Lambda Developer Guide)
//   1.0   as an API of Amazon API Gateway sends it, whose one resource is /{proxy+} ("Set up Lambda proxy integrations
//         in API Gateway", API Gateway Developer Guide)
//
// Path and query string go as they were sent, percent-encoded; query parameters are decoded. Cookies are in "cookies"
// alone in 2.0. A body in 2.0 is text where its Content-Type says so (text/…, or one with json, xml or javascript in
// it) and it is UTF-8, in 1.0 where it is UTF-8; else base64.
//
// Threads: pure functions.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "http/message.h"

namespace thaw::gateway {

enum class PayloadFormat { v1, v2 };

// Views live through the call.
struct HttpCall {
  const http::RequestHead& head;
  std::string_view target;  // what the function shall see: "/path?query", UTF-8
  std::string_view prefix;  // what was cut off in front of it, without a stage
  PayloadFormat format = PayloadFormat::v2;
  std::string_view stage = {};  // of 1.0: the path began with it; empty for the default stage, which no path names
  std::string_view body = {};
  std::string_view source_ip;
  std::string_view function_name;
  std::string_view request_id;
  std::chrono::system_clock::time_point at;
};

// The event in JSON. Errors: invalid_argument for a query that cannot be decoded or has too many fields.
Result<std::string> http_event(const HttpCall& call);

}  // namespace thaw::gateway
