// The environments of one revision of one version of a function, and the invocations that wait for them. Internal to
// src/pool.
#pragma once

#include <list>

#include "pool/pool.h"

namespace thaw::pool {

// An invocation in the queue. complete() runs once, on any thread.
struct Waiter {
  http::TimePoint deadline;
  std::function<void(Result<Lease>)> complete;
};

class FunctionPool : public std::enable_shared_from_this<FunctionPool> {
 public:
  FunctionPool(Pool& pool, std::shared_ptr<const model::FunctionRecord> record,
               std::shared_ptr<observe::FunctionLog> log);

  const model::FunctionConfig& config() const { return record_->config; }
  const std::string& revision_id() const { return record_->revision_id; }
  std::uint64_t memory_bytes() const { return std::uint64_t{config().memory_mb} << 20; }

  // A lease when one is free now.
  std::optional<Lease> try_lend();
  // Puts the waiter into the queue and starts what is needed. Errors: overloaded when the queue is full.
  Result<std::shared_ptr<Waiter>> enqueue(std::function<void(Result<Lease>)> complete);
  // True when it was still waiting; its completion then never runs.
  bool cancel(const std::shared_ptr<Waiter>& waiter);

  void give_back(const std::shared_ptr<Environment>& environment, std::unique_ptr<http::ClientConnection> connection);
  void retire(const std::shared_ptr<Environment>& environment);
  // No environment of this revision is lent to anybody new; those that are idle end now.
  void retire_all();
  // For good: the version is gone.
  void remove_snapshot();
  // Lends what is free to waiters and starts environments for the rest.
  void pump();
  void on_exit(const sandbox::ExitInfo& exit);
  // Freezes, drops, and expires waiters. Returns when to look again; max() when there is nothing to look at.
  http::TimePoint sweep(http::TimePoint now);
  // Ends one idle environment. False when there is none.
  std::optional<http::TimePoint> oldest_idle();
  bool drop_oldest_idle();
  bool empty();
  void stop();
  void add_to(PoolView& view);
  FunctionView view();

 private:
  friend class Lease;

  std::shared_ptr<Environment> pick_locked();
  Lease lend_locked(const std::shared_ptr<Environment>& environment);
  static void thaw(Environment& environment);
  // With mutex_ held by `lock`, which it releases: hands out what is free, then completes the waiters.
  void lend_to_waiters(std::unique_lock<std::mutex> lock);
  void fail_waiters(const Error& error);
  void forget(const std::shared_ptr<Environment>& environment);
  std::size_t starts_wanted_locked() const;
  bool start_one();
  void start_on_thread(std::shared_ptr<Environment> environment);
  void on_started(std::shared_ptr<Environment> environment, Result<sandbox::Started> started);
  http::Task<> wait_ready(std::shared_ptr<Environment> environment, http::Loop& loop);
  http::Task<Status> poll_readiness(std::shared_ptr<Environment> environment, http::Loop& loop,
                                    std::unique_ptr<http::ClientConnection>& connection);
  static http::Task<bool> answers(http::ClientConnection& connection, const std::string& request);
  // One unconnected socket of the environment: from its stock, which is filled up by the spawner when it is empty.
  http::Task<Result<UniqueFd>> more_sockets(std::shared_ptr<Environment> environment, http::Loop& loop);
  bool wants_snapshot() const;
  http::Task<> make_snapshot(std::shared_ptr<Environment> environment, http::Loop& loop);
  std::shared_ptr<const snapshot::ImageMemory> find_image();
  void start_by_init_instead(std::shared_ptr<Environment> environment, const Error& error);
  void on_ready(const std::shared_ptr<Environment>& environment, std::unique_ptr<http::ClientConnection> connection);
  void on_start_failed(const std::shared_ptr<Environment>& environment, Error error);
  void destroy_locked(const std::shared_ptr<Environment>& environment);
  Error init_error(const sandbox::ExitInfo& exit) const;
  Error start_error(const Error& error) const;
  const std::string& program() const;

  Pool& pool_;
  const std::shared_ptr<const model::FunctionRecord> record_;
  const std::shared_ptr<observe::FunctionLog> log_;
  std::atomic<bool> snapshot_tried_{false};

  std::mutex mutex_;
  std::vector<std::shared_ptr<Environment>> environments_;
  std::deque<std::shared_ptr<Waiter>> waiters_;
  std::size_t starting_ = 0;
  bool retired_ = false;
};

}  // namespace thaw::pool
