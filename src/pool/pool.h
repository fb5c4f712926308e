// The environment pool: starts environments on demand, lends them to invocations, queues what has to wait, freezes what
// is idle and drops what stays so.
//
//   lend an idle one; else start one, within the function's and the machine's bounds; else wait in a bounded queue
//
// Lock order: SnapshotMaker::mutex_, then Pool::mutex_, then FunctionPool::mutex_. Environment::control_mutex is taken
// before FunctionPool::mutex_ or with neither held. No lock is held across a wait; the only system calls under one are
// writes to cgroup files.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "http/client.h"
#include "http/server.h"
#include "invoke/runtime_api.h"
#include "model/function.h"
#include "observe/function_log.h"
#include "pool/calls.h"
#include "pool/output.h"
#include "pool/snapshot_maker.h"
#include "sandbox/sandbox.h"
#include "store/model_memory.h"

namespace thaw::pool {

struct PoolLimits {
  std::uint64_t memory_bytes_max = 0;           // of all environments together, by their memory_mb
  std::size_t starts_at_once_max = 4;           // inits are CPU-bound: more at a time are not faster
  std::size_t restores_at_once_max = 16;        // partly they wait for the kernel (joining cgroups)
  std::chrono::milliseconds freeze_after{100};  // idle time until an environment is frozen
  std::size_t header_bytes_max = 65536;         // of a function's responses
};

// The package of a function and its model as the spawner takes them; the holds keep them where they are.
struct Package {
  UniqueFd folder;
  std::shared_ptr<const void> hold;
  UniqueFd model;   // empty where the function names none
  UniqueFd layers;  // what lies at /opt; empty where the function names no layers
  std::shared_ptr<const void> layers_hold;
  UniqueFd runtime;  // the folder of the managed runtimes, for a function that uses one, or has external extensions
  std::shared_ptr<const void> model_hold;
};
// May take as long as a model takes that has to be fetched. An error with this code is for the caller, as it is; others
// are for the log.
inline constexpr char kModelUnavailable[] = "Init.ModelUnavailable";
using OpenPackage = std::function<Result<Package>(const model::FunctionRecord&)>;

// Names the environments of a version of a function: "name" and "version" of the record, the name without regard to
// case.
struct PoolKey {
  std::string name;
  std::string version;
};
struct PoolKeyView {
  PoolKeyView(const PoolKey& key) : name(key.name), version(key.version) {}  // NOLINT: conversion intended
  PoolKeyView(std::string_view of_name, std::string_view of_version) : name(of_name), version(of_version) {}
  explicit PoolKeyView(const model::FunctionRecord& record) : name(record.config.name), version(record.version) {}
  std::string_view name;
  std::string_view version;
};
struct PoolKeyHash {
  using is_transparent = void;
  std::size_t operator()(PoolKeyView key) const;
};
struct PoolKeyEqual {
  using is_transparent = void;
  bool operator()(PoolKeyView a, PoolKeyView b) const;
};

enum class EnvironmentState : std::uint8_t { starting, idle, busy, frozen, ending };
std::string_view to_string(EnvironmentState state);

class FunctionPool;
class Pool;

// One environment. Ownership: shared by its FunctionPool and its leases.
struct Environment {
  std::uint64_t id = 0;
  std::chrono::steady_clock::time_point started_at{};
  std::chrono::microseconds init_took{0};
  std::chrono::microseconds hook_took{0};  // of init_took, when it was restored: the after-restore hook's part
  bool restored = false;                   // or being restored; set before it starts
  bool kept = false;                       // started to be kept initialised; set before it starts
  // Set before it starts: its init is an invocation's second try, and ends with that invocation's time.
  std::optional<std::chrono::steady_clock::time_point> init_deadline;
  // Set: it belongs to the making of a snapshot, which hears here that it has started; it is lent to nobody.
  std::function<void(Status)> apart;
  std::vector<std::string> external_extensions;  // by their names; set before it starts
  std::shared_ptr<const void> package_hold;
  std::shared_ptr<const void> layers_hold;
  std::shared_ptr<const void> model_hold;
  std::shared_ptr<FunctionOutput> output;
  boost::asio::ip::tcp::endpoint endpoint;
  std::atomic<std::uint64_t> memory_peak_bytes{0};

  // Guards the cgroup files, so that a thaw and a freeze never cross.
  std::mutex control_mutex;
  std::unique_ptr<sandbox::Controls> controls;
  std::chrono::steady_clock::time_point memory_read_at{};

  // Below: guarded by FunctionPool::mutex_.
  EnvironmentState state = EnvironmentState::starting;
  bool provisioned = false;    // kept initialised while nobody asks for it
  bool shutting_down = false;  // its extensions have been told to end
  bool retiring = false;       // lent to nobody new; destroyed when the last lease comes back
  std::uint32_t inflight = 0;
  std::uint64_t invocations = 0;
  bool init_reported = false;
  std::chrono::steady_clock::time_point idle_since{};
  std::vector<UniqueFd> sockets;
  std::vector<std::unique_ptr<http::ClientConnection>> connections;  // idle ones
  std::shared_ptr<invoke::RuntimeApi> runtime;                       // of an event function, once it is started
  std::shared_ptr<CallServer> calls;  // where the function calls others; set before it is lent, and never changed
  std::optional<sandbox::ExitInfo> exit;
};

// What an invocation of an event function knows of the inits that were made for it.
struct InitAttempt {
  // Set: the second try, an init within the invocation's own time. Neither it nor the wait for it goes on beyond this.
  std::optional<http::TimePoint> deadline;
  // What the runtime has said of an init that failed, JSON; empty when it has said nothing.
  std::string error_document;
};

// A borrowed environment. Dropped without a word it destroys the environment; give_back() returns it.
class Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept;
  Lease& operator=(Lease&& other) noexcept;
  ~Lease();

  bool valid() const { return environment_ != nullptr; }
  // An idle connection to the function, moved to this loop; nullptr when there is none.
  std::unique_ptr<http::ClientConnection> take_idle(http::Loop& loop);
  // A connection to the function on this loop: an idle one, or a new one.
  http::Task<Result<std::unique_ptr<http::ClientConnection>>> connect(http::Loop& loop, http::TimePoint deadline);
  // Of an event function.
  std::shared_ptr<invoke::RuntimeApi> runtime() const;
  observe::FunctionLog& log() const;
  // What the function has printed so far is in its log when this returns.
  void take_output(http::TimePoint now);
  // What the environment is lent for. hops: how many calls have led to it. waiting: the invocation whose call it is, or
  // nullptr. Calls that the function makes are counted on from there.
  void note_call(std::uint32_t hops, std::shared_ptr<const CallLink> waiting);
  // What the function prints from now on goes to the tail as well, for as long as somebody else holds that.
  void copy_output(const std::shared_ptr<observe::LogTail>& tail);
  // take_output(), however lately that was done.
  void take_output_now();
  // Whether the connection given last had been used before.
  bool reused() const { return reused_; }
  // Why the environment has ended, waiting a little for the word of it; nothing when it lives.
  http::Task<std::optional<sandbox::ExitInfo>> exit_reason(http::Loop& loop);
  // Highest memory use so far, read at most every few milliseconds.
  std::uint64_t memory_peak_bytes();
  // Set on the first invocation after a start.
  std::optional<std::chrono::microseconds> init_duration() const { return init_duration_; }
  // The same, when the start was a restore; and the part of it that the after-restore hook took.
  std::optional<std::chrono::microseconds> restore_duration() const { return restore_duration_; }
  std::chrono::microseconds hook_duration() const { return environment_->hook_took; }
  // connection may be empty, or of no further use: then it is closed.
  void give_back(std::unique_ptr<http::ClientConnection> connection);
  // The environment takes nothing new and ends once its other invocations are over. reason: what its extensions are
  // told: "TIMEOUT" or "FAILURE".
  void retire(const char* reason = "FAILURE");

 private:
  friend class FunctionPool;
  std::shared_ptr<FunctionPool> pool_;
  std::shared_ptr<Environment> environment_;
  std::optional<std::chrono::microseconds> init_duration_;
  std::optional<std::chrono::microseconds> restore_duration_;
  std::shared_ptr<const CallLink> link_;  // as noted, where the function has calls
  bool was_frozen_ = false;
  bool reused_ = false;

  void leave_links();
};

struct EnvironmentView {
  std::uint64_t id = 0;
  EnvironmentState state = EnvironmentState::starting;
  std::uint32_t inflight = 0;
  std::uint64_t invocations = 0;
  std::chrono::seconds age{0};
  std::uint64_t memory_peak_bytes = 0;
  std::chrono::microseconds init_took{0};
};

struct FunctionView {
  std::vector<EnvironmentView> environments;
  std::size_t queued = 0;
};

// Environments that are kept initialised: how many are wanted, are there or on their way, can take an invocation or
// have one; what the last init said that failed, until one succeeds.
struct ProvisionView {
  std::uint32_t requested = 0;
  std::uint32_t allocated = 0;
  std::uint32_t available = 0;
  std::string error;
};

struct PoolView {
  std::size_t starting = 0;
  std::size_t idle = 0;
  std::size_t busy = 0;
  std::size_t frozen = 0;
  std::size_t queued = 0;
  std::uint64_t memory_admitted_bytes = 0;
};

// Ownership: host, logs and loops outlive the pool. Threads: any. Errors: see acquire().
class Pool {
 public:
  Pool(sandbox::EnvironmentHost& host, observe::FunctionLogs& logs, http::Loops& loops, OpenPackage open_package,
       PoolLimits limits);
  ~Pool();

  // Where the snapshots of versions are; without it every start is an init. Call it before the first acquire().
  SnapshotMaker& use_snapshots(const snapshot::SnapshotFolder& folder, SnapshotLimits limits);
  // nullptr without use_snapshots().
  SnapshotMaker* snapshots() { return maker_.get(); }
  // Models share the memory that environments are admitted to. Open them with this, and tell use_models() of them
  // before the first acquire(); they outlive the pool's environments.
  store::MemoryBudget& model_budget() { return model_budget_; }
  void use_models(store::ModelMemory& models) { models_ = &models; }
  // Whether the record still stands in the catalog: asked before a version gets its first environment, so that a
  // request that was on its way while it was deleted does not bring it back. Call it before the first acquire().
  using Exists = std::function<bool(const model::FunctionRecord&)>;
  void use_catalog(Exists exists) { exists_ = std::move(exists); }

  // What answers the calls of functions with `calls`; without it they have nobody who listens. Call it before the first
  // acquire(); what the handler uses outlives the pool's environments.
  void use_calls(CallSetup setup) { calls_ = std::move(setup); }

  // A lease when one is free now; nothing is started.
  std::optional<Lease> try_acquire(const std::shared_ptr<const model::FunctionRecord>& record);
  // An environment for one invocation. Errors: overloaded when the queue is full or nothing became free in time;
  // function_failed when its init failed (code Init.*, or Lambda's name for it where the function takes events);
  // unavailable while stopping; unsupported when it can never fit; not_found when it was deleted meanwhile.
  // on_client_gone of the exchange is used while waiting.
  http::Task<Result<Lease>> acquire(http::Exchange& exchange, std::shared_ptr<const model::FunctionRecord> record);
  // The same for an event, whose invocation goes on without its client. Reads and writes attempt.
  http::Task<Result<Lease>> acquire(http::Loop& loop, std::shared_ptr<const model::FunctionRecord> record,
                                    InitAttempt& attempt);
  // Where the function's lines go.
  std::shared_ptr<observe::FunctionLog> log_of(const model::FunctionRecord& record);

  // Brings the record's model into memory, so that the first start need not wait for it. Returns at once.
  void fetch_ahead(const std::shared_ptr<const model::FunctionRecord>& record);

  // From now on so many environments of the version are kept initialised, beside those that requests start: they are
  // not dropped when they are idle, and started again when they end. None once the version is retired. Returns at once.
  void provision(const std::shared_ptr<const model::FunctionRecord>& record, std::uint32_t count);
  ProvisionView provisioned(PoolKeyView version);
  // Of the memory that environments are admitted to.
  std::uint64_t memory_bytes_max() const { return limits_.memory_bytes_max; }

  // The version is replaced: its environments end as their invocations do.
  void retire(PoolKeyView version);
  // Environments that were restored from an image which has turned out to be damaged end now.
  void end_restored(PoolKeyView version);
  // The version is gone from the catalog: retire(), and its snapshot goes.
  void forget(const model::FunctionRecord& version);
  FunctionView view(PoolKeyView version);
  PoolView view();
  // Nothing can be started any more: those who wait get `unavailable` at once, and so does whoever comes.
  void on_host_lost();
  // Ends every environment; true when all were gone in time.
  bool stop(std::chrono::milliseconds wait_max);

 private:
  friend class FunctionPool;
  friend class Lease;
  friend class SnapshotMaker;

  http::Task<Result<Lease>> acquire(http::Loop& loop, http::Exchange* exchange,
                                    std::shared_ptr<const model::FunctionRecord> record, InitAttempt& attempt);
  // nullptr when the version does not exist any more.
  std::shared_ptr<FunctionPool> pool_of(const std::shared_ptr<const model::FunctionRecord>& record);
  // Environments of a version apart from those that serve it, for the making of its snapshot.
  std::shared_ptr<FunctionPool> open_workshop(const std::shared_ptr<const model::FunctionRecord>& record);
  void close_workshop(const std::shared_ptr<FunctionPool>& workshop);
  // Takes memory for one more environment, ending idle ones of other functions when there is none left.
  bool admit(std::uint64_t bytes, const FunctionPool* asking);
  void release(std::uint64_t bytes);
  bool try_admit(std::uint64_t bytes);
  // Drops whatever has been idle longest: a model that nobody uses, or an environment, whose memory comes back with
  // its exit.
  enum class Room : std::uint8_t { none, soon, made };
  Room make_room(const FunctionPool* asking);
  // Looks again at functions whose queue waits for memory or for a turn to start.
  void pump_starved();
  void on_exit(const sandbox::ExitInfo& exit);
  void wake_sweeper(http::TimePoint at);
  void arm_sweeper();
  void sweep();
  std::vector<std::shared_ptr<FunctionPool>> all();

  sandbox::EnvironmentHost& host_;
  observe::FunctionLogs& logs_;
  http::Loops& loops_;
  const OpenPackage open_package_;
  const PoolLimits limits_;
  Exists exists_;
  std::optional<CallSetup> calls_;
  std::atomic<std::size_t> calls_running_{0};
  boost::asio::thread_pool starters_{2};        // opens packages: file I/O stays off the loops
  boost::asio::thread_pool reaper_{1};          // waits for connections of Runtime APIs and calls that end
  boost::asio::thread_pool model_starters_{4};  // the same where a model may have to be fetched
  boost::asio::basic_waitable_timer<std::chrono::steady_clock, boost::asio::wait_traits<std::chrono::steady_clock>,
                                    http::Executor>
      sweeper_;
  std::atomic<http::TimePoint::rep> sweep_at_{http::TimePoint::max().time_since_epoch().count()};
  std::atomic<std::uint64_t> next_id_{1};
  std::atomic<std::size_t> starting_{0};
  std::atomic<std::uint64_t> memory_admitted_bytes_{0};
  std::atomic<bool> starved_{false};
  std::atomic<bool> stopping_{false};

  // What models take of the memory that environments are admitted to.
  class ModelBudget final : public store::MemoryBudget {
   public:
    explicit ModelBudget(Pool& pool) : pool_(pool) {}
    bool take(std::uint64_t bytes) override;
    void give_back(std::uint64_t bytes) override;

   private:
    Pool& pool_;
  };
  ModelBudget model_budget_{*this};
  store::ModelMemory* models_ = nullptr;

  std::mutex mutex_;
  std::condition_variable gone_;
  // By function and version, current revision.
  std::unordered_map<PoolKey, std::shared_ptr<FunctionPool>, PoolKeyHash, PoolKeyEqual> pools_;
  std::vector<std::shared_ptr<FunctionPool>> retired_;                    // still draining
  std::vector<std::shared_ptr<FunctionPool>> workshops_;                  // open ones
  std::unordered_map<std::uint64_t, std::weak_ptr<FunctionPool>> by_id_;  // every environment that may exit

  std::unique_ptr<SnapshotMaker> maker_;  // last: its thread uses all of the above
};

}  // namespace thaw::pool
