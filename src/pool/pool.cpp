#include "pool/pool.h"

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <thread>

#include "base/log.h"
#include "http/message.h"
#include "pool/function_pool.h"

namespace thaw::pool {

using http::TimePoint;
using Clock = std::chrono::steady_clock;

std::string_view to_string(EnvironmentState state) {
  switch (state) {
    case EnvironmentState::starting:
      return "starting";
    case EnvironmentState::idle:
      return "idle";
    case EnvironmentState::busy:
      return "busy";
    case EnvironmentState::frozen:
      return "frozen";
    case EnvironmentState::ending:
      return "ending";
  }
  return "unknown";
}

// FNV-1a ("The FNV Non-Cryptographic Hash Algorithm", RFC draft by Fowler, Noll, Vo and Eastlake).
std::size_t PoolKeyHash::operator()(PoolKeyView key) const {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  const auto add = [&](char c) { hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL; };
  for (const char c : key.name) add(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  for (const char c : key.version) add(c);
  return hash;
}

bool PoolKeyEqual::operator()(PoolKeyView a, PoolKeyView b) const {
  return a.version == b.version && http::iequals(a.name, b.name);
}

Pool::Pool(sandbox::EnvironmentHost& host, observe::FunctionLogs& logs, http::Loops& loops, OpenPackage open_package,
           PoolLimits limits)
    : host_(host),
      logs_(logs),
      loops_(loops),
      open_package_(std::move(open_package)),
      limits_(limits),
      sweeper_(loops[0].executor()) {
  host_.set_on_exit([this](sandbox::ExitInfo exit) { on_exit(exit); });
}

Pool::~Pool() {
  starters_.join();
  model_starters_.join();
}

std::shared_ptr<FunctionPool> Pool::pool_of(const std::shared_ptr<const model::FunctionRecord>& record) {
  std::shared_ptr<FunctionPool> replaced;
  std::shared_ptr<FunctionPool> current;
  {
    const std::lock_guard lock(mutex_);
    auto found = pools_.find(PoolKeyView(*record));
    if (found == pools_.end()) {
      if (exists_ && !exists_(*record)) return nullptr;
      found = pools_.try_emplace({record->config.name, record->version}).first;
    }
    std::shared_ptr<FunctionPool>& entry = found->second;
    if (entry == nullptr || entry->revision_id() != record->revision_id) {
      replaced = std::exchange(entry, std::make_shared<FunctionPool>(*this, record, logs_.of(record->config.name)));
      if (replaced != nullptr) retired_.push_back(replaced);
    }
    current = entry;
  }
  if (replaced != nullptr) replaced->retire_all();
  return current;
}

std::optional<Lease> Pool::try_acquire(const std::shared_ptr<const model::FunctionRecord>& record) {
  if (stopping_) return std::nullopt;
  const std::shared_ptr<FunctionPool> functions = pool_of(record);
  return functions == nullptr ? std::nullopt : functions->try_lend();
}

http::Task<Result<Lease>> Pool::acquire(http::Exchange& exchange, std::shared_ptr<const model::FunctionRecord> record) {
  InitAttempt attempt;
  co_return co_await acquire(exchange.loop(), &exchange, std::move(record), attempt);
}

http::Task<Result<Lease>> Pool::acquire(http::Loop& loop, std::shared_ptr<const model::FunctionRecord> record,
                                        InitAttempt& attempt) {
  return acquire(loop, nullptr, std::move(record), attempt);
}

std::shared_ptr<observe::FunctionLog> Pool::log_of(const model::FunctionRecord& record) {
  return logs_.of(record.config.name);
}

http::Task<Result<Lease>> Pool::acquire(http::Loop& loop, http::Exchange* exchange,
                                        std::shared_ptr<const model::FunctionRecord> record, InitAttempt& attempt) {
  if (stopping_) co_return Error{ErrorKind::unavailable, "Thaw is shutting down"};
  const std::shared_ptr<FunctionPool> functions = pool_of(record);
  if (functions == nullptr) co_return Error{ErrorKind::not_found, "the function or version was deleted meanwhile"};
  if (auto lease = functions->try_lend()) co_return std::move(*lease);

  // Wait in the function's queue. The completion may come on any thread; the coroutine goes on on its own loop.
  auto outcome = std::make_shared<std::optional<Result<Lease>>>();
  std::shared_ptr<Waiter> waiter;
  const auto executor = loop.executor();
  const auto initiate = [&](auto handler) {
    auto resume = std::make_shared<decltype(handler)>(std::move(handler));
    auto complete = [outcome, executor, resume](Result<Lease> result) {
      boost::asio::post(executor, [outcome, resume, held = std::move(result)]() mutable {
        outcome->emplace(std::move(held));
        std::move (*resume)();
      });
    };
    auto queued = functions->enqueue(complete, attempt.deadline);
    if (!queued.ok()) {
      complete(std::move(queued).error());
      return;
    }
    waiter = *queued;
    if (exchange != nullptr) {
      exchange->set_on_client_gone([functions, waiter] {
        if (functions->cancel(waiter)) waiter->complete(Error{ErrorKind::unavailable, "the client went away"});
      });
    }
    functions->pump();
  };
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<http::Executor>, void()>(initiate,
                                                                                                   http::use_task);
  if (exchange != nullptr) exchange->set_on_client_gone({});
  if (waiter != nullptr) attempt.error_document = std::move(waiter->init_error_document);
  co_return std::move(**outcome);
}

bool Pool::try_admit(std::uint64_t bytes) {
  std::uint64_t admitted = memory_admitted_bytes_;
  while (admitted + bytes <= limits_.memory_bytes_max) {
    if (memory_admitted_bytes_.compare_exchange_weak(admitted, admitted + bytes)) return true;
  }
  return false;
}

bool Pool::admit(std::uint64_t bytes, const FunctionPool* asking) {
  while (!try_admit(bytes)) {
    // What an ending environment held comes back with its exit; until then the caller waits in its queue.
    if (bytes > limits_.memory_bytes_max || make_room(asking) != Room::made) return false;
  }
  return true;
}

void Pool::release(std::uint64_t bytes) { memory_admitted_bytes_ -= bytes; }

bool Pool::ModelBudget::take(std::uint64_t bytes) {
  constexpr std::chrono::seconds kWaitMax{10};
  const TimePoint until = Clock::now() + kWaitMax;
  while (!pool_.try_admit(bytes)) {
    if (bytes > pool_.limits_.memory_bytes_max || pool_.stopping_) return false;
    const Room room = pool_.make_room(nullptr);
    if (room == Room::made) continue;
    if (room == Room::none || Clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

void Pool::ModelBudget::give_back(std::uint64_t bytes) {
  pool_.release(bytes);
  pool_.pump_starved();
}

Pool::Room Pool::make_room(const FunctionPool* asking) {
  std::shared_ptr<FunctionPool> oldest;
  TimePoint oldest_since = TimePoint::max();
  for (const auto& functions : all()) {
    if (functions.get() == asking) continue;
    const auto since = functions->oldest_idle();
    if (since && *since < oldest_since) {
      oldest_since = *since;
      oldest = functions;
    }
  }
  const auto model_since = models_ != nullptr ? models_->oldest_unused() : std::nullopt;
  if (model_since && *model_since < oldest_since && models_->drop_oldest_unused()) return Room::made;
  if (oldest != nullptr && oldest->drop_oldest_idle()) return Room::soon;
  return Room::none;
}

std::vector<std::shared_ptr<FunctionPool>> Pool::all() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<FunctionPool>> list = retired_;
  list.insert(list.end(), workshops_.begin(), workshops_.end());
  for (const auto& [key, functions] : pools_) list.push_back(functions);
  return list;
}

void Pool::pump_starved() {
  if (!starved_.exchange(false)) return;
  for (const auto& functions : all()) functions->pump();
}

void Pool::on_exit(const sandbox::ExitInfo& exit) {
  std::shared_ptr<FunctionPool> functions;
  {
    const std::lock_guard lock(mutex_);
    const auto found = by_id_.find(exit.id);
    if (found == by_id_.end()) return;
    functions = found->second.lock();
    by_id_.erase(found);
  }
  if (functions != nullptr) {
    functions->on_exit(exit);
    release(functions->memory_bytes());
  }
  gone_.notify_all();
  starved_ = true;
  pump_starved();
}

void Pool::fetch_ahead(const std::shared_ptr<const model::FunctionRecord>& record) {
  if (record->config.model.empty()) return;
  // What fails here fails again, and is told, at the start that needs it.
  boost::asio::post(model_starters_, [this, record] {
    if (!stopping_) (void)open_package_(*record).ok();
  });
}

void Pool::retire(PoolKeyView version) {
  std::shared_ptr<FunctionPool> functions;
  {
    const std::lock_guard lock(mutex_);
    const auto found = pools_.find(version);
    if (found == pools_.end()) return;
    functions = found->second;
    pools_.erase(found);
    retired_.push_back(functions);
  }
  functions->retire_all();
}

void Pool::end_restored(PoolKeyView version) {
  std::shared_ptr<FunctionPool> functions;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = pools_.find(version); found != pools_.end()) functions = found->second;
  }
  if (functions != nullptr) functions->end_restored();
}

void Pool::forget(const model::FunctionRecord& version) {
  retire(PoolKeyView(version));
  if (maker_ != nullptr) maker_->forget(version);
}

SnapshotMaker& Pool::use_snapshots(const snapshot::SnapshotFolder& folder, SnapshotLimits limits) {
  maker_ = std::make_unique<SnapshotMaker>(*this, folder, std::move(limits));
  return *maker_;
}

std::shared_ptr<FunctionPool> Pool::open_workshop(const std::shared_ptr<const model::FunctionRecord>& record) {
  auto workshop =
      std::make_shared<FunctionPool>(*this, record, logs_.of(record->config.name), FunctionPool::Use::making);
  const std::lock_guard lock(mutex_);
  workshops_.push_back(workshop);
  return workshop;
}

// Kept until its last environment is gone, which gives its memory back.
void Pool::close_workshop(const std::shared_ptr<FunctionPool>& workshop) {
  const std::lock_guard lock(mutex_);
  std::erase(workshops_, workshop);
  retired_.push_back(workshop);
}

FunctionView Pool::view(PoolKeyView version) {
  std::shared_ptr<FunctionPool> functions;
  {
    const std::lock_guard lock(mutex_);
    const auto found = pools_.find(version);
    if (found != pools_.end()) functions = found->second;
  }
  return functions == nullptr ? FunctionView() : functions->view();
}

PoolView Pool::view() {
  PoolView view;
  for (const auto& functions : all()) functions->add_to(view);
  view.memory_admitted_bytes = memory_admitted_bytes_;
  return view;
}

void Pool::on_host_lost() {
  stopping_ = true;
  for (const auto& functions : all()) functions->stop();
}

bool Pool::stop(std::chrono::milliseconds wait_max) {
  stopping_ = true;
  for (const auto& functions : all()) functions->stop();
  const TimePoint until = Clock::now() + wait_max;
  const bool ended = [&] {
    std::unique_lock lock(mutex_);
    return gone_.wait_until(lock, until, [this] { return by_id_.empty(); });
  }();
  // Both ends of a call are gone then: it is about to find out.
  while (calls_running_ > 0 && Clock::now() < until) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return ended;
}

// ---- The sweeper: one timer, on the first loop, armed only while there is something to look at.
// ----------------------

void Pool::wake_sweeper(TimePoint at) {
  auto armed = sweep_at_.load();
  while (at.time_since_epoch().count() < armed) {
    if (sweep_at_.compare_exchange_weak(armed, at.time_since_epoch().count())) {
      boost::asio::post(loops_[0].executor(), [this] { arm_sweeper(); });
      return;
    }
  }
}

void Pool::arm_sweeper() {
  // The latest word, not the one that was posted: posts may overtake each other.
  const TimePoint at{TimePoint::duration(sweep_at_.load())};
  if (at == TimePoint::max()) return;
  sweeper_.expires_at(at);
  sweeper_.async_wait([this](const boost::system::error_code& error) {
    if (!error) sweep();
  });
}

void Pool::sweep() {
  sweep_at_ = TimePoint::max().time_since_epoch().count();
  const TimePoint now = Clock::now();
  TimePoint next = TimePoint::max();
  for (const auto& functions : all()) next = std::min(next, functions->sweep(now));
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(retired_, [](const auto& functions) { return functions->empty(); });
    // A function at rest keeps nothing here: thousands of them cost only their catalog entry.
    std::erase_if(pools_, [](const auto& entry) { return entry.second.use_count() == 1 && entry.second->empty(); });
  }
  // Not more often than every few milliseconds, however many environments come due.
  if (next != TimePoint::max()) wake_sweeper(std::max(next, now + std::chrono::milliseconds(10)));
}

// ---- Lease ----------------------------------------------------------------------------------------------------------

Lease::Lease(Lease&& other) noexcept { *this = std::move(other); }

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    if (valid()) retire();
    pool_ = std::move(other.pool_);
    environment_ = std::move(other.environment_);
    init_duration_ = other.init_duration_;
    restore_duration_ = other.restore_duration_;
    link_ = std::move(other.link_);
    was_frozen_ = other.was_frozen_;
    reused_ = other.reused_;
  }
  return *this;
}

Lease::~Lease() {
  if (valid()) retire();
}

void Lease::note_call(std::uint32_t hops, std::shared_ptr<const CallLink> waiting) {
  if (environment_->calls == nullptr || link_ != nullptr) return;
  auto link = std::make_shared<CallLink>();
  link->waiting = std::move(waiting);
  link->revision_id = pool_->revision_id();
  link->hops = hops;
  link_ = std::move(link);
  environment_->calls->links().enter(link_);
}

void Lease::leave_links() {
  if (link_ != nullptr) environment_->calls->links().leave(link_.get());
  link_.reset();
}

void Lease::give_back(std::unique_ptr<http::ClientConnection> connection) {
  leave_links();
  const auto pool = std::move(pool_);
  const auto environment = std::move(environment_);
  pool->give_back(environment, std::move(connection));
}

void Lease::retire(const char* reason) {
  leave_links();
  const auto pool = std::move(pool_);
  const auto environment = std::move(environment_);
  pool->retire(environment, reason);
}

std::uint64_t Lease::memory_peak_bytes() {
  constexpr std::chrono::milliseconds kReadEvery{20};
  const TimePoint now = Clock::now();
  const std::unique_lock lock(environment_->control_mutex, std::try_to_lock);
  if (lock.owns_lock() && environment_->controls != nullptr && now - environment_->memory_read_at >= kReadEvery) {
    environment_->memory_read_at = now;
    if (const auto peak = environment_->controls->memory_peak_bytes(); peak.ok())
      environment_->memory_peak_bytes = *peak;
  }
  return environment_->memory_peak_bytes;
}

http::Task<std::optional<sandbox::ExitInfo>> Lease::exit_reason(http::Loop& loop) {
  return pool_->exit_reason(environment_, loop);
}

http::Task<std::optional<sandbox::ExitInfo>> FunctionPool::exit_reason(std::shared_ptr<Environment> environment,
                                                                       http::Loop& loop) {
  // A crash breaks the connection before the spawner has reaped the process and cleared its cgroup.
  constexpr std::chrono::milliseconds kWaitMax{500};
  const TimePoint until = Clock::now() + kWaitMax;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (environment->exit) co_return environment->exit;
    }
    if (Clock::now() >= until) co_return std::nullopt;
    boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, http::Executor> timer(
        loop.executor(), std::chrono::milliseconds(5));
    co_await timer.async_wait(http::use_task);
  }
}

std::shared_ptr<invoke::RuntimeApi> Lease::runtime() const {
  const std::lock_guard lock(pool_->mutex_);
  return environment_->runtime;
}

observe::FunctionLog& Lease::log() const { return *pool_->log_; }

void Lease::take_output(TimePoint now) { environment_->output->take_waiting_if_due(now); }

void Lease::take_output_now() { environment_->output->take_waiting(); }

void Lease::copy_output(const std::shared_ptr<observe::LogTail>& tail) { environment_->output->copy_to(tail); }

std::unique_ptr<http::ClientConnection> Lease::take_idle(http::Loop& loop) {
  // A connection that has been idle for longer is looked at: the function may have closed it by its keep-alive timer.
  constexpr std::chrono::milliseconds kTrustedFor{5};
  std::unique_ptr<http::ClientConnection> connection;
  reused_ = false;
  {
    const std::lock_guard lock(pool_->mutex_);
    auto& idle = environment_->connections;
    if (idle.empty()) return nullptr;
    auto chosen = std::find_if(idle.rbegin(), idle.rend(), [&](const auto& one) { return &one->loop() == &loop; });
    if (chosen == idle.rend()) chosen = idle.rbegin();
    connection = std::move(*chosen);
    idle.erase(std::next(chosen).base());
  }
  if (Clock::now() - connection->idle_since() > kTrustedFor && !connection->still_open()) return nullptr;
  connection->attach(loop);
  reused_ = true;
  return connection;
}

http::Task<Result<std::unique_ptr<http::ClientConnection>>> Lease::connect(http::Loop& loop, TimePoint deadline) {
  if (auto idle = take_idle(loop)) co_return std::move(idle);
  auto socket = co_await pool_->more_sockets(environment_, loop);
  if (!socket.ok()) co_return std::move(socket).error();
  auto connection =
      std::make_unique<http::ClientConnection>(loop, std::move(*socket), pool_->pool_.limits_.header_bytes_max);
  connection->begin_exchange(deadline);
  if (auto connected = co_await connection->connect(environment_->endpoint); !connected.ok()) {
    co_return std::move(connected).error();
  }
  co_return connection;
}

}  // namespace thaw::pool
