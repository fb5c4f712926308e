// Error answers. A function's caller gets kind, code, message and request id; a caller of the control API gets Lambda's
// shape, one of /v1 OpenAI's. Details of the host or of the function's own output never go out.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "http/server.h"

namespace thaw::gateway {

// The code of an error that answers a circle of calls; its status is 508, whatever its kind.
inline constexpr char kLoopDetected[] = "Calls.LoopDetected";

std::string json_quoted(std::string_view text);

// {"kind":…,"code":…,"message":…,"requestId":…} with the status of the error's kind.
http::Task<Status> answer_error(http::Exchange& exchange, const Error& error, std::string_view request_id);
// {"error":{"message","type","param","code"}} as OpenAI's API answers, so that its clients raise the right exceptions.
http::Task<Status> answer_openai_error(http::Exchange& exchange, const Error& error, std::string_view request_id);
std::string openai_error_body(const Error& error);
// not_found in OpenAI's terms: no function of that name and qualifier answers on /v1.
Error no_model(std::string_view model);
// {"Type":"User","Message":…,"message":…} with x-amzn-ErrorType, as Lambda's API answers: some of its errors spell the
// member one way, some the other, and clients read one.
http::Task<Status> answer_control_error(http::Exchange& exchange, const Error& error);

}  // namespace thaw::gateway
