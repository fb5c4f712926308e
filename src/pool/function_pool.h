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
  // Of a second try: how far an init that is begun for it may go. Cleared when one is.
  std::optional<http::TimePoint> init_deadline;
  // Set before complete() where the runtime has said what failed.
  std::string init_error_document;
};

class FunctionPool : public std::enable_shared_from_this<FunctionPool> {
 public:
  enum class Use : std::uint8_t { serving, making };
  FunctionPool(Pool& pool, std::shared_ptr<const model::FunctionRecord> record,
               std::shared_ptr<observe::FunctionLog> log, Use use = Use::serving);

  const model::FunctionConfig& config() const { return record_->config; }
  const std::string& revision_id() const { return record_->revision_id; }
  std::uint64_t memory_bytes() const { return std::uint64_t{config().memory_mb} << 20; }

  // A lease when one is free now.
  std::optional<Lease> try_lend();
  // Puts the waiter into the queue and starts what is needed. Errors: overloaded when the queue is full.
  Result<std::shared_ptr<Waiter>> enqueue(std::function<void(Result<Lease>)> complete,
                                          std::optional<http::TimePoint> init_deadline);
  // True when it was still waiting; its completion then never runs.
  bool cancel(const std::shared_ptr<Waiter>& waiter);

  void give_back(const std::shared_ptr<Environment>& environment, std::unique_ptr<http::ClientConnection> connection);
  void retire(const std::shared_ptr<Environment>& environment, const char* reason);
  // No environment of this revision is lent to anybody new; those that are idle end now.
  void retire_all();
  void end_restored();
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
  // Why the environment has ended, waiting a little for the word of it; nothing when it lives.
  http::Task<std::optional<sandbox::ExitInfo>> exit_reason(std::shared_ptr<Environment> environment, http::Loop& loop);

  // For the making of a snapshot (apart.cpp), with Use::making: environments that are lent to nobody.
  // An environment that has been started, but may not answer yet; by init, or from `image` where one is given. Errors:
  // as those of acquire().
  http::Task<Result<std::shared_ptr<Environment>>> start_apart(http::Loop& loop,
                                                               std::shared_ptr<const snapshot::ImageMemory> image);
  // Returns when it is gone.
  http::Task<> end_apart(std::shared_ptr<Environment> environment, http::Loop& loop);
  http::Task<Status> wait_until_ready(std::shared_ptr<Environment> environment, http::Loop& loop);
  // Sends a request on a connection of its own. The answer's status.
  // Errors: function_failed when the function ended or answered no HTTP; timeout.
  struct Ask {
    std::string method;
    std::string path;
    std::string body;
    std::string content_type;
    std::chrono::milliseconds wait_max{0};
    std::chrono::milliseconds close_wait_max{0};  // for the other side to close the connection, after the answer
  };
  http::Task<Result<int>> ask(std::shared_ptr<Environment> environment, http::Loop& loop, Ask request);
  // The after-restore hook of a clone, where the function has one. Errors: function_failed.
  http::Task<Status> after_restore(std::shared_ptr<Environment> environment, http::Loop& loop);
  // For the other side to close a connection that a freeze must not find open.
  static constexpr std::chrono::milliseconds kCloseWaitMax{500};
  // Errors: with the code kCalledMeanwhile the next try, with another file, may do.
  static constexpr char kCalledMeanwhile[] = "Snapshot.CalledMeanwhile";
  http::Task<Result<sandbox::Frozen>> write_image(std::shared_ptr<Environment> environment, http::Loop& loop,
                                                  UniqueFd file);
  const std::shared_ptr<observe::FunctionLog>& log() const { return log_; }

  // Environments that are kept initialised (provision.cpp).
  void provision(std::uint32_t count);
  ProvisionView provisioned();

 private:
  friend class Lease;

  std::shared_ptr<Environment> pick_locked();
  Lease lend_locked(const std::shared_ptr<Environment>& environment);
  static void thaw(Environment& environment);
  static void throttle(Environment& environment);
  // With mutex_ held by `lock`, which it releases: hands out what is free, then completes the waiters.
  void lend_to_waiters(std::unique_lock<std::mutex> lock);
  void end_unused_locked();
  void fail_waiters(const Error& error);
  void forget(const std::shared_ptr<Environment>& environment);
  std::size_t starts_wanted_locked() const;
  static bool counts_as_provisioned(const Environment& environment);
  // Environments that have yet to be started to be kept; the second: now.
  std::size_t provision_lack_locked() const;
  std::size_t provision_wanted_locked() const;
  void end_surplus_locked();
  void note_provision_failed_locked(const std::string& error);
  bool start_one();
  bool will_restore();
  std::shared_ptr<Environment> new_environment();
  void post_start(const std::shared_ptr<Environment>& environment);
  void start_on_thread(std::shared_ptr<Environment> environment);
  void on_started(std::shared_ptr<Environment> environment, Result<sandbox::Started> started);
  // Both begin to listen; nullptr where there is nothing to listen at.
  std::shared_ptr<invoke::RuntimeApi> open_runtime_api(const Environment& environment, UniqueFd listener);
  std::shared_ptr<CallServer> open_calls(const Environment& environment, UniqueFd listener);
  http::Task<> wait_ready(std::shared_ptr<Environment> environment, http::Loop& loop);
  http::Task<Status> poll_readiness(std::shared_ptr<Environment> environment, http::Loop& loop,
                                    std::unique_ptr<http::ClientConnection>& connection);
  http::Task<Status> await_runtime(std::shared_ptr<Environment> environment, http::Loop& loop,
                                   http::TimePoint deadline);
  // The other side has closed the connection, or has had time enough for it.
  static http::Task<> until_closed(http::ClientConnection& connection, http::Loop& loop,
                                   std::chrono::milliseconds wait_max);
  static http::Task<bool> answers(http::ClientConnection& connection, const std::string& request);
  // One unconnected socket of the environment: from its stock, which is filled up by the spawner when it is empty.
  http::Task<Result<UniqueFd>> more_sockets(std::shared_ptr<Environment> environment, http::Loop& loop);
  std::shared_ptr<const snapshot::ImageMemory> find_image(const Environment& environment);
  void note_restore_failed(const Environment& environment, const Error& error);
  enum class Started : std::uint8_t { no, yes };
  void on_restore_failed(const std::shared_ptr<Environment>& environment, const Error& error, Started started);
  void on_ready(const std::shared_ptr<Environment>& environment, std::unique_ptr<http::ClientConnection> connection);
  void on_start_failed(const std::shared_ptr<Environment>& environment, Error error);
  // reason: what extensions are told, where there are any; they have up to two seconds then (shutdown.cpp).
  void destroy_locked(const std::shared_ptr<Environment>& environment, const char* reason = "SPINDOWN");
  http::Task<> shut_down(std::shared_ptr<Environment> environment, const char* reason, http::Loop& loop);
  bool takes_events() const { return config().kind == model::FunctionKind::event; }
  // When an init that is not ready has failed.
  http::TimePoint init_deadline(const Environment& environment) const;
  void report_init(const Environment& environment, const Error& error);
  Error init_error(const sandbox::ExitInfo& exit) const;
  Error event_start_error(const Error& error) const;
  Error start_error(const Error& error) const;
  const std::string& program() const;

  Pool& pool_;
  const std::shared_ptr<const model::FunctionRecord> record_;
  const std::shared_ptr<observe::FunctionLog> log_;
  const Use use_;

  std::mutex mutex_;
  std::vector<std::shared_ptr<Environment>> environments_;
  std::deque<std::shared_ptr<Waiter>> waiters_;
  std::size_t starting_ = 0;
  std::size_t inits_owed_ = 0;  // starts to come that are inits, in the place of restores that failed
  std::shared_ptr<const snapshot::ImageMemory> trial_image_;  // of the next start_apart()
  bool retired_ = false;
  std::uint32_t provisioned_max_ = 0;
  std::string provision_error_;  // of the last init, while none has succeeded since
  std::chrono::seconds provision_pause_{0};
  http::TimePoint provision_at_ = http::TimePoint::min();  // no such start before
};

}  // namespace thaw::pool
