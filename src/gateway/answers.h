// Error answers. A function's caller gets kind, code, message and request id; a caller of the control API gets Lambda's
// shape. Details of the host or of the function's own output never go out.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "http/server.h"

namespace thaw::gateway {

std::string json_quoted(std::string_view text);

// {"kind":…,"code":…,"message":…,"requestId":…} with the status of the error's kind.
http::Task<Status> answer_error(http::Exchange& exchange, const Error& error, std::string_view request_id);
// {"Type":"User","Message":…} with x-amzn-ErrorType, as Lambda's API answers.
http::Task<Status> answer_control_error(http::Exchange& exchange, const Error& error);

}  // namespace thaw::gateway
