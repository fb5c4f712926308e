#include "gateway/answers.h"

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include "control/catalog.h"

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

bool is_users_fault(ErrorKind kind) { return http_status(kind) < 500; }

}  // namespace

std::string json_quoted(std::string_view text) {
  // Names from a URL may be any bytes; JSON is UTF-8.
  if (!http::is_utf8(text)) return "\"(not UTF-8)\"";
  return boost::json::serialize(boost::json::string(text.data(), text.size()));
}

http::Task<Status> answer_error(http::Exchange& exchange, const Error& error, std::string_view request_id) {
  const int status = http_status(error.kind);
  std::string body = "{\"kind\":" + json_quoted(to_string(error.kind));
  if (!error.code.empty()) body += ",\"code\":" + json_quoted(error.code);
  body += ",\"message\":" + json_quoted(error.message) + ",\"requestId\":" + json_quoted(request_id) + "}\n";
  std::string fields = "x-amzn-requestid: " + std::string(request_id) + "\r\nx-amzn-errortype: " +
                       (error.code.empty() ? std::string(to_string(error.kind)) : error.code) + "\r\n";
  if (status == 429 || status == 503) fields += kRetryAfter;
  co_return co_await exchange.respond({.status = status, .body = body, .extra_fields = fields});
}

http::Task<Status> answer_control_error(http::Exchange& exchange, const Error& error) {
  // Of Lambda's conflicts this one has a status of its own.
  const bool precondition = error.code == control::kPreconditionFailed;
  const int status = precondition ? 412 : http_status(error.kind);
  const std::string_view type = precondition ? "PreconditionFailedException" : lambda_error_type(error.kind);
  const std::string body = std::string("{\"Type\":\"") + (is_users_fault(error.kind) ? "User" : "Service") +
                           "\",\"Message\":" + json_quoted(error.message) + "}\n";
  std::string fields = "x-amzn-ErrorType: " + std::string(type) + "\r\n";
  if (status == 429 || status == 503) fields += kRetryAfter;
  co_return co_await exchange.respond({.status = status, .body = body, .extra_fields = fields});
}

}  // namespace thaw::gateway
