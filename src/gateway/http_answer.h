// The response of an event function that was sent an HTTP request (http_event.h), as the HTTP answer that it stands
// for.
//
// Threads: functions are pure; a PreludeReader has one user at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
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

// What a streamed response of this type begins with: a JSON object with statusCode, headers, cookies, ended by eight
// zero bytes; the body follows ("Response streaming for Lambda functions", AWS Lambda Developer Guide).
inline constexpr std::string_view kPreludeContentType = "application/vnd.awslambda.http-integration-response";
inline constexpr std::size_t kPreludeBytesMax = 64 << 10;

class PreludeReader {
 public:
  // Takes bytes off the piece. The answer without its body once the prelude is whole: what is left of the piece is the
  // body's beginning. Nothing while it is not. Errors: function_failed; the reader is of no further use then.
  Result<std::optional<HttpAnswer>> read(std::string_view& piece);

 private:
  std::string text_;
  std::size_t zeros_ = 0;
};

}  // namespace thaw::gateway
