// Runs one event on a function, from the version's record to the answer: an environment is lent, the event handed to
// the runtime, START, END and REPORT lines written, the environment given back.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "control/concurrency.h"
#include "http/loop.h"
#include "invoke/event.h"
#include "model/function.h"
#include "pool/pool.h"

namespace thaw::events {

// Takes a streamed response while it comes. Called on the loop of run(), one call at a time. An error, such as that of
// a client that has gone, ends the taking and not the function: what follows is dropped.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  // Before the first piece, once the runtime has begun its response. content_type is what the runtime says:
  // application/vnd.awslambda.http-integration-response where the first bytes are a prelude. Not called for a response
  // that comes whole.
  virtual http::Task<Status> begin(std::string_view content_type) = 0;
  // The pieces are the sink's to cut anew: they need not be those that the handler wrote. Until it returns the runtime
  // may send some 256 KiB ahead, and then waits.
  virtual http::Task<Status> write(std::string_view piece) = 0;
};

struct EventRequest {
  std::shared_ptr<const model::FunctionRecord> record;
  std::string request_id;
  std::string function_arn;  // with the qualifier as the caller gave it
  std::string payload;
  std::string client_context;
  std::string trace_id;
  std::uint32_t hops = 0;                              // how many calls of functions have led to it
  std::shared_ptr<const pool::CallLink> waiting = {};  // the invocation whose call it is, and waits; or nullptr
  bool log_tail = false;                               // asks for EventResult::log_tail
  // Borrowed until run() returns. Without it a streamed response is gathered, as one that comes whole.
  ResponseSink* sink = nullptr;
};

struct EventResult {
  // Nothing of the function's own doing: overloaded (no environment in time, or with a code of control/concurrency.h as
  // many invocations as may be), not_found, unavailable, unsupported (not
  // an event function, or too large for this host).
  Status status;
  // Lambda's X-Amz-Function-Error: "Unhandled", or empty. The payload is {"errorType", "errorMessage", …} then: the
  // runtime's own, or made for a timeout ("Sandbox.Timedout"), an end ("Runtime.ExitError"), an init that failed.
  std::string function_error;
  std::string payload;
  // The response went to the sink, from begin() on; the payload is empty, or that of an error that came in its midst.
  bool streamed = false;
  std::string executed_version;
  // START, what the function printed, END, REPORT: their last observe::kLogTailBytesMax bytes, where they were asked
  // for.
  std::string log_tail;
};

// Ownership: borrows the pool and the gate. Threads: run() on any loop, which the caller's task runs on.
class EventInvoker {
 public:
  EventInvoker(pool::Pool& pool, control::ConcurrencyGate& gate) : pool_(pool), gate_(gate) {}

  // An invocation goes on when its client goes away, as Lambda's do. The environment is given back when the runtime has
  // sent its response, however long the sink takes for the rest of it.
  http::Task<EventResult> run(http::Loop& loop, EventRequest request);

 private:
  pool::Pool& pool_;
  control::ConcurrencyGate& gate_;
};

}  // namespace thaw::events
