// A queue between threads that never holds more than its bound: who brings waits for room, who takes waits for things.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace thaw::cli {

// Ownership: of what is in it. Threads: any.
template <class T>
class BoundedQueue {
 public:
  enum class Take : unsigned char { taken, nothing_yet, over };

  explicit BoundedQueue(std::size_t size_max) : size_max_(size_max) {}

  // False when nobody will take it any more.
  bool push(T value) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return items_.size() < size_max_ || finished_; });
    if (finished_) return false;
    items_.push_back(std::move(value));
    things_.notify_one();
    return true;
  }

  // Nothing when the queue is finished and empty.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    things_.wait(lock, [&] { return !items_.empty() || finished_; });
    return take_front();
  }

  Take pop_for(std::chrono::milliseconds wait_max, std::optional<T>& into) {
    std::unique_lock lock(mutex_);
    things_.wait_for(lock, wait_max, [&] { return !items_.empty() || finished_; });
    into = take_front();
    if (into) return Take::taken;
    return finished_ ? Take::over : Take::nothing_yet;
  }

  // Nothing more comes; what is there can still be taken.
  void finish() {
    end([] {});
  }
  // Nothing more comes, and what is there goes.
  void discard() {
    end([&] { items_.clear(); });
  }

 private:
  std::optional<T> take_front() {
    if (items_.empty()) return std::nullopt;
    std::optional<T> value(std::move(items_.front()));
    items_.pop_front();
    room_.notify_one();
    return value;
  }

  template <class Also>
  void end(const Also& also) {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    also();
    room_.notify_all();
    things_.notify_all();
  }

  const std::size_t size_max_;
  std::mutex mutex_;
  std::deque<T> items_;
  bool finished_ = false;
  std::condition_variable room_;
  std::condition_variable things_;
};

}  // namespace thaw::cli
