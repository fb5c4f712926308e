// Runs one event on a function, from the version's record to the answer: an environment is lent, the event handed to
// the runtime, START, END and REPORT lines written, the environment given back.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "http/loop.h"
#include "invoke/event.h"
#include "model/function.h"
#include "pool/pool.h"

namespace thaw::events {

struct EventRequest {
  std::shared_ptr<const model::FunctionRecord> record;
  std::string request_id;
  std::string function_arn;  // with the qualifier as the caller gave it
  std::string payload;
  std::string client_context;
  std::string cognito_identity;
  std::string trace_id;
  bool log_tail = false;  // asks for EventResult::log_tail
};

struct EventResult {
  // Nothing of the function's own doing: overloaded (no environment in time), not_found, unavailable, unsupported (not
  // an event function, or too large for this host).
  Status status;
  // Lambda's X-Amz-Function-Error: "Unhandled", or empty. The payload is {"errorType", "errorMessage", …} then: the
  // runtime's own, or made for a timeout ("Sandbox.Timedout"), an end ("Runtime.ExitError"), an init that failed.
  std::string function_error;
  std::string payload;
  std::string executed_version;
  // START, what the function printed, END, REPORT: their last observe::kLogTailBytesMax bytes, where they were asked
  // for. Empty where no environment took the event.
  std::string log_tail;
};

// Ownership: borrows the pool. Threads: run() on any loop, which the caller's task runs on.
class EventInvoker {
 public:
  explicit EventInvoker(pool::Pool& pool) : pool_(pool) {}

  // An invocation goes on when its client goes away, as Lambda's do.
  http::Task<EventResult> run(http::Loop& loop, EventRequest request);

 private:
  pool::Pool& pool_;
};

}  // namespace thaw::events
