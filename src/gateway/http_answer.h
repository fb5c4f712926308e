// The response of an event function that was sent an HTTP request (http_event.h), as the HTTP answer that it stands
// for.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "gateway/http_event.h"

namespace thaw::gateway {

struct HttpAnswer {
  int status = 200;  // 200 to 599
  std::string content_type = "application/json";
  // Beside Content-Type, Content-Length and those of a connection, which are not the function's to set.
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
};

// In format 2.0 a response without a statusCode is the body itself, as JSON. Headers of multiValueHeaders replace those
// of headers. Errors: function_failed, saying what of the response is wrong.
Result<HttpAnswer> http_answer(std::string payload, PayloadFormat format);

}  // namespace thaw::gateway
