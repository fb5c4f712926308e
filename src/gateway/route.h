// Where a request goes, by its Host and target alone.
//
//   NAME.localhost:8080/PATH            the function NAME sees /PATH
//   QUALIFIER.NAME.localhost:8080/PATH  its version or alias QUALIFIER does
//   /fn/NAME/PATH, /fn/NAME:QUALIFIER/PATH
//   /v1/…                               OpenAI's API: the body's "model" names the function
//   /20NN-NN-NN/…, /thaw/v1/…           the control API, which is Lambda's with its dates
//   /get-online-features, /push, …      the feature store, as Feast's server has it (features_api.h)
//   /healthz, /                         Thaw itself
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "pool/calls.h"

namespace thaw::gateway {

enum class RouteKind { function, function_redirect, openai, control, features, health, home, unknown };

struct Route {
  RouteKind kind = RouteKind::unknown;
  std::string_view function_name;  // as the client wrote it
  std::string_view target;         // what the function shall see; for the other kinds the whole target
  std::string_view prefix;         // "/fn/NAME" or "/fn/NAME:QUALIFIER" where it was cut off
  std::string_view qualifier;      // as the client wrote it, escapes included; empty where there is none
  std::uint32_t hops = 0;          // of a function's call: how many calls have led here; 0: the request is from outside
  std::shared_ptr<const pool::CallLink> waiting = {};  // the invocation whose call it is; nullptr where there is none
};

// Views point into host and target. Errors: invalid_argument for a target that is not one.
Result<Route> route(std::string_view host, std::string_view target);

// What a function may ask for at THAW_URL, from inside its environment (docs/calls.md).
enum class CallAccess {
  allowed,  // functions, OpenAI's API, features, whether Thaw is there
  invoke,   // Lambda's Invoke, of all the control API
  refused,  // the rest of it
  unknown,  // nothing is served there
};
CallAccess call_access(const Route& route);

// "LOCALHOST:8080" names this machine's loopback: localhost, 127.0.0.0/8 written in full, or [::1], with any port.
bool is_loopback_host(std::string_view host);

}  // namespace thaw::gateway
