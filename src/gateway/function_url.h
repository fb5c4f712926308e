// What the configuration of a function's URL asks of a request before the function gets it: CORS and AuthType.
#pragma once

#include "gateway/access_keys.h"
#include "http/server.h"
#include "model/settings.h"

namespace thaw::gateway {

// True: the request has been answered. It is a browser's preflight, or not allowed. Otherwise the answer, whoever makes
// it, will have the fields that CORS asks for.
// With AuthType AWS_IAM a request must be signed with one of the keys, for the service lambda; without keys nobody can.
http::Task<bool> answer_by_url(http::Exchange& exchange, const model::FunctionUrlConfig& url, const AccessKeys& keys,
                               const std::string& request_id);

}  // namespace thaw::gateway
