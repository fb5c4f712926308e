// The event loops: one thread and one io_context each. A connection lives on one loop for its whole life.
//
// Deadlines are kept by a sweep over a list rather than by a timer per operation: setting one is a store, and a timer
// queue never shows up in the cost of a request. A deadline may therefore fire up to kSweepEvery late.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace thaw::http {

namespace asio = boost::asio;
using Executor = asio::io_context::executor_type;
template <class T = void>
using Task = asio::awaitable<T, Executor>;
inline constexpr asio::use_awaitable_t<Executor> use_task{};
using Socket = asio::basic_stream_socket<asio::generic::stream_protocol, Executor>;
using TimePoint = std::chrono::steady_clock::time_point;

inline constexpr std::chrono::milliseconds kSweepEvery{50};

// Something with a deadline. Registered with a loop for as long as it lives; all calls on the loop's thread.
class Watched {
 public:
  Watched() = default;
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

 protected:
  virtual ~Watched() = default;

 private:
  friend class Loop;
  // Called about every kSweepEvery. Must not destroy another Watched.
  virtual void on_sweep(TimePoint now) = 0;
  Watched* previous_ = nullptr;
  Watched* next_ = nullptr;
};

// Ownership: owns its io_context and thread. Threads: watch() and date() on the loop's own thread only; post-like use
// of context() from anywhere.
class Loop {
 public:
  explicit Loop(unsigned index);
  ~Loop();
  Loop(const Loop&) = delete;

  asio::io_context& context() { return context_; }
  Executor executor() { return context_.get_executor(); }
  unsigned index() const { return index_; }
  void start();
  // Asks the thread to end and waits for it; pending work is dropped.
  void stop();

  void watch(Watched& watched);
  void unwatch(Watched& watched);
  // The Date field's value now, renewed at most once a second.
  const std::string& date();

 private:
  void arm();
  void sweep();

  const unsigned index_;
  asio::io_context context_{1};
  asio::executor_work_guard<Executor> work_{context_.get_executor()};
  asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor> timer_;
  bool armed_ = false;
  Watched* first_ = nullptr;
  Watched* sweeping_ = nullptr;  // the next one that the running sweep visits
  std::string date_;
  std::int64_t date_second_ = 0;
  std::thread thread_;
};

class Loops {
 public:
  explicit Loops(unsigned count);
  ~Loops() { stop(); }
  void start();
  void stop();
  // From start() to stop().
  bool running() const { return running_; }
  std::size_t size() const { return loops_.size(); }
  Loop& operator[](std::size_t i) { return *loops_[i]; }
  // Round robin.
  Loop& next() { return *loops_[turn_++ % loops_.size()]; }

 private:
  std::vector<std::unique_ptr<Loop>> loops_;
  std::atomic<std::size_t> turn_{0};
  std::atomic<bool> running_{false};
};

}  // namespace thaw::http
