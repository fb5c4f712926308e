// The host's half of an invocation of a web function: one HTTP exchange passed on to the server inside the environment,
// bodies streaming both ways at once.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/client.h"
#include "http/server.h"

namespace thaw::invoke {

// Its value, from whomever, is not passed on.
inline constexpr char kHopsField[] = "Thaw-Hops";

struct ForwardRequest {
  std::string_view target;      // as the function shall see it, query included
  std::string_view prefix;      // what was cut off the client's path, for X-Forwarded-Prefix; may be empty
  std::string_view request_id;  // goes to the function and into the response as x-amzn-requestid
  http::TimePoint deadline;     // the whole exchange must be over by then
  // The request's body where it has been read from the exchange already.
  std::optional<std::string_view> body = {};
  // Called at most once, when that body is wanted no longer: the answer may take its time.
  std::function<void()> on_body_sent = {};
  // Fields of the function's response that begin like this, without regard to case, are left out: they are the
  // exchange's own (Exchange::set_own_fields). Empty: none are.
  std::string_view withheld = {};
  // How many calls of functions have led to it: the function sees the number as kHopsField. 0: it came from outside.
  std::uint32_t hops = 0;
  // The name of a further response field that carries the request id, as the API in question has it; may be empty.
  std::string_view id_field = {};
};

struct ForwardOutcome {
  // timeout: past the deadline. unavailable: the function's connection broke. function_failed: it spoke no HTTP.
  Status status;
  // The client has got the response's head; nothing else can be answered any more.
  bool answered = false;
  bool client_gone = false;
  int http_status = 0;
  // Nothing of the request had been consumed that a second try would miss, and no byte of an answer had come.
  bool may_retry = false;
};

// The client sees an answer that broke off as one: it is never ended as a whole one is. No more of it is held than one
// buffer each way; a client that reads slowly makes the function wait, until the deadline at most.
//
// Threads: the exchange's loop, which must be the upstream's too. Errors: in the outcome; the client has got an answer
// only when `answered` says so.
http::Task<ForwardOutcome> forward(http::Exchange& exchange, http::ClientConnection& upstream, ForwardRequest request);

}  // namespace thaw::invoke
