// Connections to one server, lent to one caller at a time, with a breaker: after a connection could not be made or its
// server went silent, callers get that error at once, without asking, until a pause is over; then one of them tries,
// and its success ends the pause for all. So a server that is away costs a request microseconds and not a timeout.
//
// A Connection has
//   bool lost() const;   the server closed it or it failed: it is of no use any more
//   bool hung() const;   lost because an answer did not come in time
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace thaw::adapters {

struct ConnectionPoolSettings {
  std::string name;  // of the server, for errors; without secrets
  std::size_t connections_max = 8;
  // How long a caller waits for one of them.
  std::chrono::milliseconds wait_max{2000};
  // The pause after the first failure; each further one doubles it up to the second.
  std::chrono::milliseconds pause_min{100};
  std::chrono::milliseconds pause_max{2000};
};

// Threads: run() from any. No lock is held while a connection is made, used or closed.
template <class Connection>
class ConnectionPool {
 public:
  using Connect = std::function<Result<std::unique_ptr<Connection>>()>;

  ConnectionPool(ConnectionPoolSettings settings, Connect connect)
      : settings_(std::move(settings)), connect_(std::move(connect)) {}
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;

  // call(Connection&) -> a Result or Status. It is called a second time, with a new connection, where the first one had
  // been idle and turned out to be closed: it must do no harm twice.
  // Errors: call's; unavailable: no connection could be made, or all were busy for too long.
  template <class Call>
  auto run(Call call) -> decltype(call(std::declval<Connection&>())) {
    for (bool again = false;; again = true) {
      ASSIGN_OR_RETURN(Lease lease, take(again));
      auto done = call(*lease.connection);
      const bool lost = lease.connection->lost();
      const bool hung = lease.connection->hung();
      const bool reused = lease.reused;
      give_back(std::move(lease), lost);
      if (!lost || done.ok()) return done;
      forget_idle();
      if (reused && !hung && !again) continue;
      pause(done.error());
      return done;
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Lease {
    std::unique_ptr<Connection> connection;
    bool reused = false;
  };

  Result<Lease> take(bool only_new) {
    std::unique_lock lock(mutex_);
    const auto until = Clock::now() + settings_.wait_max;
    for (;;) {
      if (failure_ && (Clock::now() < paused_until_ || trying_)) return *failure_;
      if (!idle_.empty() && !only_new) {
        Lease lease{.connection = std::move(idle_.back()), .reused = true};
        idle_.pop_back();
        return lease;
      }
      if (open_ < settings_.connections_max || !idle_.empty()) break;
      if (changed_.wait_until(lock, until) == std::cv_status::timeout && Clock::now() >= until)
        return Error(ErrorKind::unavailable,
                     settings_.name + ": all " + std::to_string(settings_.connections_max) + " connections are busy");
    }
    std::unique_ptr<Connection> closed;
    if (open_ == settings_.connections_max) {  // an idle one goes for the new one
      closed = std::move(idle_.back());
      idle_.pop_back();
    } else {
      ++open_;
    }
    trying_ = failure_.has_value();
    lock.unlock();
    closed.reset();
    return connect();
  }

  Result<Lease> connect() {
    auto made = connect_();
    const std::lock_guard lock(mutex_);
    trying_ = false;
    if (made.ok()) {
      failure_.reset();
      pause_ = {};
      return Lease{.connection = *std::move(made)};
    }
    --open_;
    pause_locked(made.error());
    return std::move(made).error();
  }

  void give_back(Lease lease, bool lost) {
    const std::lock_guard lock(mutex_);
    if (lost)
      --open_;
    else
      idle_.push_back(std::move(lease.connection));
    changed_.notify_one();
  }

  // One that was closed says the same of those that lay beside it.
  void forget_idle() {
    std::vector<std::unique_ptr<Connection>> closed;
    const std::lock_guard lock(mutex_);
    closed.swap(idle_);
    open_ -= closed.size();
    changed_.notify_all();
  }

  void pause(const Error& error) {
    const std::lock_guard lock(mutex_);
    pause_locked(error);
  }
  void pause_locked(const Error& error) {
    // Of many callers that failed together, the first one's pause is enough.
    if (!failure_ || Clock::now() >= paused_until_) {
      pause_ = std::clamp(pause_ * 2, settings_.pause_min, settings_.pause_max);
      paused_until_ = Clock::now() + pause_;
    }
    failure_ = error;
    changed_.notify_all();
  }

  const ConnectionPoolSettings settings_;
  const Connect connect_;
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Connection>> idle_;
  std::size_t open_ = 0;  // lent, idle, or being made
  // The breaker: while failure_ is there, nobody but the one who tries gets a connection.
  std::optional<Error> failure_;
  std::chrono::milliseconds pause_{0};
  Clock::time_point paused_until_;
  bool trying_ = false;
};

}  // namespace thaw::adapters
