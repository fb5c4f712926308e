// Lambda's Invoke with InvocationType Event: the event is in the queue, durably, before its sender hears of it.

#include "gateway/control_api.h"
#include "gateway/control_request.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

// Ours: it is kept with the event.
constexpr std::size_t kTraceIdBytesMax = 4096;

}  // namespace

http::Task<Status> ControlApi::accept_event(http::Exchange& exchange, events::EventRequest request,
                                            const std::string& qualifier) {
  if (events_ == nullptr) co_return Error{ErrorKind::unavailable, "the daemon has no queue of events"};
  if (request.trace_id.size() > kTraceIdBytesMax) {
    co_return invalid_argument("X-Amzn-Trace-Id is longer than " + std::to_string(kTraceIdBytesMax) + " bytes");
  }
  events::QueuedEvent event;
  event.function = request.record->config.name;
  event.qualifier = qualifier;
  event.function_arn = std::move(request.function_arn);
  event.client_context = std::move(request.client_context);
  event.trace_id = std::move(request.trace_id);
  event.chain = request.hops;
  event.payload = std::move(request.payload);
  Status accepted = co_await events_->intake().accept(exchange.loop(), request.request_id, event);
  if (!accepted.ok()) co_return accepted;
  co_return co_await exchange.respond({.status = 202});
}

boost::json::object events_view(const events::EventsView& view) {
  boost::json::object body{{"Reachable", view.reachable},        {"Accepted", view.accepted},
                           {"Succeeded", view.totals.succeeded}, {"Retried", view.totals.retried},
                           {"GivenUp", view.totals.failed},      {"Delivered", view.totals.delivered},
                           {"RunAgain", view.totals.again}};
  if (view.reachable) {
    body["Waiting"] = view.counts.events - std::min(view.counts.events, view.counts.taken);
    body["Running"] = view.counts.taken;
    body["Bytes"] = view.counts.bytes;
    body["Dead"] = view.counts.dead;
  }
  return body;
}

}  // namespace thaw::gateway
