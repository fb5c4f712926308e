// Takes events in: what it has answered "accepted" is in the queue, durably. Events that arrive while the disk is busy
// share the next write.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "events/queued_event.h"
#include "http/loop.h"
#include "ports/event_queue.h"

namespace thaw::events {

struct IntakeLimits {
  // Of events that wait for their write.
  std::size_t waiting_max = 10'000;
  std::size_t waiting_bytes_max = 64U << 20;
  // Of one write.
  std::size_t batch_max = 1000;
};

// Ownership: borrows the queue. Threads: any; one thread of its own writes.
// Errors: overloaded (the queue is full, or too many wait), unavailable (it cannot be written; stopped).
class EventIntake {
 public:
  explicit EventIntake(ports::EventQueue& queue, IntakeLimits limits = {});
  ~EventIntake() { stop(); }

  // id: what the function sees as its request id, one for each event.
  http::Task<Status> accept(http::Loop& loop, std::string id, const QueuedEvent& event);
  // The same with a function that is called once, from any thread.
  void submit(ports::NewEvent event, std::function<void(const Status&)> done);
  // What waits is answered; nothing is taken any more.
  void stop();

  std::uint64_t accepted() const { return accepted_; }

 private:
  struct Waiting {
    ports::NewEvent event;
    std::function<void(const Status&)> done;
  };
  void run();
  void write(std::span<Waiting> batch);

  ports::EventQueue& queue_;
  const IntakeLimits limits_;
  std::atomic<std::uint64_t> accepted_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;    // guarded by mutex_
  std::size_t waiting_bytes_ = 0;  // guarded by mutex_; of those being written too
  bool stopping_ = false;          // guarded by mutex_
  std::thread writer_;
};

// The event as it is put into the queue, due at once.
ports::NewEvent new_event(std::string id, const QueuedEvent& event);

}  // namespace thaw::events
