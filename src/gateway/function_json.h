// A function's record as Lambda's FunctionConfiguration, with what Lambda has no name for under "Thaw".
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "model/function.h"
#include "pool/pool.h"

namespace thaw::gateway {

// origin: where functions answer, for example "127.0.0.1:8080".
boost::json::object function_configuration(const model::FunctionRecord& record, const std::string& host,
                                           std::uint16_t port);
boost::json::object function_environments(const pool::FunctionView& view);
// Standard base64 (RFC 4648) of a digest given in hex, as CodeSha256 is written.
std::string base64_of_hex(std::string_view hex);

}  // namespace thaw::gateway
