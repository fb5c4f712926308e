// Runs what is in the queue: takes due events, hands each to its function, and tells the queue what became of it.
//
//   succeeded                 done; a record follows where the function has a destination for successes
//   the function failed       again later, by the retry rule; then done, with a record for its destination of failures
//   it could not be run       again later, ever later, until it is too old
//   there is no such function dead, with the reason
//
// A function has at most a part of the places, so that slow ones do not keep the others waiting. An event is leased
// while it runs; one whose daemon dies runs again after the next start.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "control/catalog.h"
#include "events/event_invoker.h"
#include "events/outcome.h"
#include "events/queued_event.h"
#include "events/retry_rule.h"
#include "http/loop.h"
#include "ports/event_queue.h"

namespace thaw::events {

// A record on its way to a destination that is no function.
struct Delivery {
  model::Destination destination;
  std::string function;  // whose record it is
  std::string id;        // one for each record: what is delivered twice has the same
  std::string record;    // JSON
};
// Brings it there, within its own bound of time; it may block. Errors: unavailable, timeout, overloaded and internal
// are tried again; others end it.
using Deliver = std::function<Status(const Delivery&)>;

struct DispatcherOptions {
  std::size_t parallel_max = 64;  // events that run at a time
  std::size_t lane_max = 16;      // of them those of one function
  std::chrono::milliseconds lease{60000};
  RetryRule rule;
  Deliver deliver;
};

// Since the start of the daemon.
struct DispatcherTotals {
  std::uint64_t succeeded = 0;
  std::uint64_t retried = 0;
  std::uint64_t failed = 0;  // given up: retries exhausted, or too old
  std::uint64_t dead = 0;
  std::uint64_t again = 0;  // run once more because nothing was known of a run before
  std::uint64_t delivered = 0;
};

// Ownership: borrows all it is given. Threads: any; one thread of its own speaks to the queue, invocations run on the
// loops. Lock order: the queue's own lock before mutex_; the queue is never called with mutex_ held.
class EventDispatcher {
 public:
  EventDispatcher(ports::EventQueue& queue, control::Catalog& catalog, EventInvoker& invoker, http::Loops& loops,
                  DispatcherOptions options);
  ~EventDispatcher() { stop(); }

  // Once the loops run.
  void start();
  // Nothing new is taken; what runs goes on.
  void stop_taking();
  // Events that run, or whose end the queue has not been told yet.
  std::size_t running() const;
  // Tells the queue what is known and ends. What still runs then stays in the queue.
  void stop();

  DispatcherTotals totals() const;

 private:
  // Records that are being delivered at a time.
  static constexpr std::size_t kDeliveriesMax = 4;

  void work();
  bool flush();
  void extend();
  void take_some(std::size_t places);
  std::size_t room(std::string_view lane) const;
  http::Task<> run(http::Loop& loop, ports::TakenEvent taken);
  http::Task<> deliver(http::Loop& loop, ports::TakenEvent taken, QueuedEvent event);
  // result: none when the event is too old to be tried.
  ports::Settlement settle(const ports::TakenEvent& taken, const QueuedEvent& event,
                           const model::EventInvokeConfig& config, const EventResult* result);
  ports::Settlement end(const Ending& ending, std::uint64_t handle, const model::EventInvokeConfig& config);
  model::EventInvokeConfig config_of(const QueuedEvent& event) const;
  ports::Settlement bury(const ports::TakenEvent& taken, std::string_view reason);
  void over(ports::Settlement settlement);

  ports::EventQueue& queue_;
  control::Catalog& catalog_;
  EventInvoker& invoker_;
  http::Loops& loops_;
  const DispatcherOptions options_;
  std::atomic<std::uint64_t> succeeded_{0}, retried_{0}, failed_{0}, dead_{0}, again_{0}, delivered_{0};

  boost::asio::thread_pool deliverers_{kDeliveriesMax};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_, all that follows.
  bool taking_ = true;
  bool stopping_ = false;
  std::unordered_map<std::uint64_t, std::string> runs_;  // handle to lane
  std::unordered_map<std::string, std::size_t> lanes_;
  std::vector<ports::Settlement> settlements_;
  std::thread worker_;
};

}  // namespace thaw::events
