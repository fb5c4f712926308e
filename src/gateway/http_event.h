// An HTTP request as the event that a function gets, and the function's response as the HTTP answer: payload format 2.0
// of API Gateway, as Lambda's function URLs speak it ("Creating and managing Lambda function URLs: request and response
// payloads", AWS Lambda Developer Guide).
//
// Path and query string go as they were sent, percent-encoded; queryStringParameters are decoded. Cookies are in
// "cookies" alone. A body is text where its Content-Type says so (text/…, or one with json, xml or javascript in it)
// and it is UTF-8; else base64.
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

// Views live through the call.
struct HttpCall {
  const http::RequestHead& head;
  std::string_view target;  // what the function shall see: "/path?query", UTF-8
  std::string_view prefix;  // what was cut off in front of it
  std::string_view body;
  std::string_view source_ip;
  std::string_view function_name;
  std::string_view request_id;
  std::chrono::system_clock::time_point at;
};

// The event in JSON. Errors: invalid_argument for a query that cannot be decoded or has too many fields.
Result<std::string> http_event(const HttpCall& call);

struct HttpAnswer {
  int status = 200;  // 200 to 599
  std::string content_type = "application/json";
  // Beside Content-Type, Content-Length and those of a connection, which are not the function's to set.
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
};

// A response without a statusCode is the body itself, as JSON. Headers of multiValueHeaders replace those of headers.
// Errors: function_failed, saying what of the response is wrong.
Result<HttpAnswer> http_answer(std::string payload);

}  // namespace thaw::gateway
