// Which web pages may call a function, by the Cors of its URL's configuration ("Cross-origin resource sharing (CORS)",
// AWS Lambda Developer Guide; the protocol is the Fetch standard's).
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "http/message.h"
#include "model/settings.h"

namespace thaw::gateway {

// What a function's response may not say itself where there is a Cors.
inline constexpr std::string_view kCorsFieldPrefix = "access-control-";

bool is_cors_field(std::string_view name);

// The question of a browser whether it may send a request: it is answered without the function.
bool is_preflight(const http::RequestHead& request);

// Fields of the answer, each "Name: value\r\n": what an origin that may call is told, else only that it depends on the
// origin. Of a preflight request also methods, headers and how long that holds.
std::string cors_fields(const model::Cors& cors, const http::RequestHead& request);

}  // namespace thaw::gateway
