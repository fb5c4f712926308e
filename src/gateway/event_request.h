// An HTTP request to an event function: it becomes an event (http_event.h), and the function's response the answer.
#pragma once

#include <memory>
#include <string>

#include "events/event_invoker.h"
#include "gateway/route.h"
#include "http/server.h"
#include "model/function.h"
#include "model/settings.h"
#include "observe/function_log.h"

namespace thaw::gateway {

// Ownership: borrows all it is given. Threads: answer() on any loop.
class EventRequests {
 public:
  EventRequests(events::EventInvoker& invoker, observe::FunctionLogs& logs) : invoker_(invoker), logs_(logs) {}

  // A function that fails, or whose response is no HTTP answer, is answered 502 {"Message": "Internal Server Error"},
  // as Lambda does; the function's log says why. A path that does not begin with the function's stage is answered 403.
  // Errors are for the caller to answer: invalid_argument and too_large for the request, the event invoker's, and a
  // client that is gone. route: its views live through the call. mode: whether a streamed response goes out while it
  // comes.
  http::Task<Status> answer(http::Exchange& exchange, const Route& route,
                            std::shared_ptr<const model::FunctionRecord> record, std::string request_id,
                            model::InvokeMode mode);

 private:
  events::EventInvoker& invoker_;
  observe::FunctionLogs& logs_;
};

}  // namespace thaw::gateway
