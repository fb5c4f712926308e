#include "events/event_intake.h"

#include "http/awaited.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::events {

ports::NewEvent new_event(std::string id, const QueuedEvent& event) {
  const std::int64_t now =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  return {.id = std::move(id),
          .lane = lane_of(event),
          .body = encode_queued_event(event),
          .accepted_ms = now,
          .due_ms = now};
}

EventIntake::EventIntake(ports::EventQueue& queue, IntakeLimits limits)
    : queue_(queue), limits_(limits), writer_([this] { run(); }) {}

http::Task<Status> EventIntake::accept(http::Loop& loop, std::string id, const QueuedEvent& event) {
  ports::NewEvent put = new_event(std::move(id), event);
  co_return co_await http::awaited<Status>(
      loop, [this, &put](auto done) { submit(std::move(put), [done](const Status& status) { done(status); }); });
}

void EventIntake::submit(ports::NewEvent event, std::function<void(const Status&)> done) {
  Error refused{ErrorKind::overloaded, "too many events wait to be written: retry later"};
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      refused = {ErrorKind::unavailable, "the daemon is stopping: events are not taken"};
    } else if (waiting_.size() < limits_.waiting_max &&
               waiting_bytes_ + event.body.size() <= limits_.waiting_bytes_max) {
      waiting_bytes_ += event.body.size();
      waiting_.push_back({std::move(event), std::move(done)});
      changed_.notify_one();
      return;
    }
  }
  done(std::move(refused));
}

void EventIntake::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_one();
  }
  if (writer_.joinable()) writer_.join();
}

void EventIntake::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::size_t count = std::min(waiting_.size(), limits_.batch_max);
    std::vector<Waiting> batch(std::make_move_iterator(waiting_.begin()),
                               std::make_move_iterator(waiting_.begin() + static_cast<std::ptrdiff_t>(count)));
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
    std::size_t bytes = 0;
    for (const Waiting& one : batch) bytes += one.event.body.size();
    lock.unlock();
    write(batch);
    lock.lock();
    waiting_bytes_ -= bytes;
  }
}

// A full queue takes a part of the batch, as if the events had come one after another.
void EventIntake::write(std::span<Waiting> batch) {
  std::vector<ports::NewEvent> events;
  events.reserve(batch.size());
  for (Waiting& one : batch) events.push_back(std::move(one.event));
  const Status put = queue_.put(events);
  if (!put.ok() && put.error().kind == ErrorKind::overloaded && batch.size() > 1) {
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i].event = std::move(events[i]);
    write(batch.first(batch.size() / 2));
    write(batch.subspan(batch.size() / 2));
    return;
  }
  if (put.ok()) accepted_ += batch.size();
  for (Waiting& one : batch) one.done(put);
}

}  // namespace thaw::events
