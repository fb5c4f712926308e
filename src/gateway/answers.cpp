#include "gateway/answers.h"

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include "control/catalog.h"
#include "control/concurrency.h"
#include "gateway/model_finder.h"

namespace thaw::gateway {
namespace {

constexpr std::string_view kRetryAfter = "Retry-After: 1\r\n";

std::string_view lambda_error_type(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::invalid_argument:
      return "InvalidParameterValueException";
    case ErrorKind::forbidden:
      return "AccessDeniedException";
    case ErrorKind::not_found:
      return "ResourceNotFoundException";
    case ErrorKind::conflict:
      return "ResourceConflictException";
    case ErrorKind::too_large:
      return "RequestTooLargeException";
    case ErrorKind::overloaded:
      return "TooManyRequestsException";
    default:
      return "ServiceException";
  }
}

// The types that OpenAI's own answers have.
std::string_view openai_error_type(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::forbidden:
      return "permission_error";
    case ErrorKind::overloaded:
      return "requests";
    default:
      return http_status(kind) < 500 ? "invalid_request_error" : "server_error";
  }
}

int status_of(const Error& error) { return error.code == kLoopDetected ? 508 : http_status(error.kind); }

bool is_users_fault(ErrorKind kind) { return http_status(kind) < 500; }

}  // namespace

std::string json_quoted(std::string_view text) {
  // Names from a URL may be any bytes; JSON is UTF-8.
  if (!http::is_utf8(text)) return "\"(not UTF-8)\"";
  return boost::json::serialize(boost::json::string(text.data(), text.size()));
}

http::Task<Status> answer_error(http::Exchange& exchange, const Error& error, std::string_view request_id) {
  const int status = status_of(error);
  std::string body = "{\"kind\":" + json_quoted(to_string(error.kind));
  if (!error.code.empty()) body += ",\"code\":" + json_quoted(error.code);
  body += ",\"message\":" + json_quoted(error.message) + ",\"requestId\":" + json_quoted(request_id) + "}\n";
  std::string fields = "x-amzn-requestid: " + std::string(request_id) + "\r\nx-amzn-errortype: " +
                       (error.code.empty() ? std::string(to_string(error.kind)) : error.code) + "\r\n";
  if (status == 429 || status == 503) fields += kRetryAfter;
  co_return co_await exchange.respond({.status = status, .body = body, .extra_fields = fields});
}

std::string openai_error_body(const Error& error) {
  std::string code = error.code;
  if (code.empty() && error.kind == ErrorKind::overloaded) code = "rate_limit_exceeded";
  if (code.empty() && error.kind == ErrorKind::too_large) code = "request_too_large";
  const bool about_model = code == kModelNotFound || code == kModelMissing || code == kModelNoString;
  return "{\"error\":{\"message\":" + json_quoted(error.message) +
         ",\"type\":" + json_quoted(openai_error_type(error.kind)) +
         ",\"param\":" + (about_model ? "\"model\"" : "null") +
         ",\"code\":" + (code.empty() ? "null" : json_quoted(code)) + "}}\n";
}

http::Task<Status> answer_openai_error(http::Exchange& exchange, const Error& error, std::string_view request_id) {
  const int status = status_of(error);
  const std::string body = openai_error_body(error);
  std::string fields =
      "x-request-id: " + std::string(request_id) + "\r\nx-amzn-requestid: " + std::string(request_id) + "\r\n";
  if (status == 429 || status == 503) fields += kRetryAfter;
  co_return co_await exchange.respond({.status = status, .body = body, .extra_fields = fields});
}

Error no_model(std::string_view model) {
  const bool shown = http::is_utf8(model) && model.size() <= kModelNameBytesMax;
  return {ErrorKind::not_found,
          "there is no model" + (shown ? " " + std::string(model) : std::string()) +
              ": model must be the name of a function that speaks OpenAI's API (GET /v1/models lists them), or "
              "NAME:QUALIFIER for a version or alias",
          kModelNotFound};
}

http::Task<Status> answer_control_error(http::Exchange& exchange, const Error& error) {
  // Of Lambda's conflicts this one has a status of its own.
  const bool precondition = error.code == control::kPreconditionFailed;
  const int status = precondition ? 412 : status_of(error);
  const std::string_view type = precondition                        ? "PreconditionFailedException"
                                : error.code == kLoopDetected       ? "RecursiveInvocationException"
                                : error.code.ends_with("Exception") ? std::string_view(error.code)
                                                                    : lambda_error_type(error.kind);
  std::string body = std::string("{\"Type\":\"") + (is_users_fault(error.kind) ? "User" : "Service") +
                     "\",\"Message\":" + json_quoted(error.message) + ",\"message\":" + json_quoted(error.message);
  const bool throttled = error.code == control::kReservedLimitExceeded || error.code == control::kAccountLimitExceeded;
  if (throttled) body += ",\"Reason\":" + json_quoted(error.code);
  body += "}\n";
  std::string fields = "x-amzn-ErrorType: " + std::string(type) + "\r\n";
  if (status == 429 || status == 503) fields += kRetryAfter;
  co_return co_await exchange.respond({.status = status, .body = body, .extra_fields = fields});
}

}  // namespace thaw::gateway
