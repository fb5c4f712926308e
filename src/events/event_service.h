// Asynchronous invocations as one thing: the queue, what takes events in, and what runs them.
#pragma once

#include <memory>

#include "events/event_dispatcher.h"
#include "events/event_intake.h"
#include "events/event_invoker.h"
#include "events/scheduler.h"

namespace thaw::events {

// What `thaw status` shows of it. Of the queue's own counts nothing is known while it is away.
struct EventsView {
  bool reachable = false;
  ports::QueueCounts counts;
  DispatcherTotals totals;
  std::uint64_t accepted = 0;
};

// Ownership: owns the queue, borrows all else. Threads: any. Errors: see its parts.
class EventService {
 public:
  EventService(std::unique_ptr<ports::EventQueue> queue, control::Catalog& catalog, control::ConcurrencyGate& gate,
               pool::Pool& pool, http::Loops& loops, DispatcherOptions options)
      : queue_(std::move(queue)),
        invoker_(pool, gate),
        intake_(*queue_),
        dispatcher_(*queue_, catalog, invoker_, loops, std::move(options)) {}

  // Before start(). path: of the schedules' file.
  Status open_schedules(const std::string& path, control::Catalog& catalog) {
    ASSIGN_OR_RETURN(scheduler_, Scheduler::open(path, catalog, intake_));
    return {};
  }
  void start() {
    dispatcher_.start();
    scheduler_->start();
  }
  // At the end of the daemon, in this order: nothing new is run; (what runs ends;) what is known is written.
  void stop_taking() {
    scheduler_->stop();
    dispatcher_.stop_taking();
  }
  std::size_t running() const { return dispatcher_.running(); }
  void stop() {
    intake_.stop();
    dispatcher_.stop();
  }

  EventIntake& intake() { return intake_; }
  Scheduler& scheduler() { return *scheduler_; }
  // Asks the queue: it may block on it.
  EventsView view() {
    EventsView view{.totals = dispatcher_.totals(), .accepted = intake_.accepted()};
    if (const auto counts = queue_->counts(); counts.ok()) {
      view.reachable = true;
      view.counts = *counts;
    }
    return view;
  }

 private:
  const std::unique_ptr<ports::EventQueue> queue_;
  EventInvoker invoker_;
  EventIntake intake_;
  EventDispatcher dispatcher_;
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace thaw::events
