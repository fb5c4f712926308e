#include "pool/function_pool.h"

#include <algorithm>

#include "base/log.h"

namespace thaw::pool {

using http::TimePoint;
using Clock = std::chrono::steady_clock;

// An invocation waits this much longer than an init may take, so that one start can serve those that wait for it.
constexpr std::chrono::seconds kQueueWaitBeyondInit{10};
// The init's own end is told first.
constexpr std::chrono::milliseconds kInitEndGrace{100};

FunctionPool::FunctionPool(Pool& pool, std::shared_ptr<const model::FunctionRecord> record,
                           std::shared_ptr<observe::FunctionLog> log, Use use)
    : pool_(pool), record_(std::move(record)), log_(std::move(log)), use_(use) {}

// ---- Lending --------------------------------------------------------------------------------------------------------

std::shared_ptr<Environment> FunctionPool::pick_locked() {
  // Those that run before those that are frozen; the least loaded; among equals one that is kept anyhow, then the one
  // used last, so that the others stay idle, freeze and go.
  const std::shared_ptr<Environment>* best = nullptr;
  const auto rank = [](const Environment& one) {
    return std::tuple(one.state == EnvironmentState::frozen, one.inflight, !one.provisioned,
                      -one.idle_since.time_since_epoch().count());
  };
  for (const auto& environment : environments_) {
    const bool usable = environment->state == EnvironmentState::idle || environment->state == EnvironmentState::busy ||
                        environment->state == EnvironmentState::frozen;
    if (!usable || environment->retiring || environment->inflight >= config().concurrency) continue;
    if (best == nullptr || rank(*environment) < rank(**best)) best = &environment;
  }
  return best == nullptr ? nullptr : *best;
}

Lease FunctionPool::lend_locked(const std::shared_ptr<Environment>& environment) {
  Lease lease;
  lease.pool_ = shared_from_this();
  lease.environment_ = environment;
  lease.was_frozen_ = environment->state == EnvironmentState::frozen;
  environment->state = EnvironmentState::busy;
  ++environment->inflight;
  ++environment->invocations;
  if (!std::exchange(environment->init_reported, true))
    (environment->restored ? lease.restore_duration_ : lease.init_duration_) = environment->init_took;
  return lease;
}

void FunctionPool::thaw(Environment& environment) {
  const std::lock_guard lock(environment.control_mutex);
  if (environment.controls == nullptr) return;
  if (const Status status = environment.controls->thaw(); !status.ok()) {
    log::error("environment_thaw_failed id={} error={}", environment.id, status.error().message);
  }
}

std::optional<Lease> FunctionPool::try_lend() {
  std::unique_lock lock(mutex_);
  if (!waiters_.empty()) return std::nullopt;
  const auto environment = pick_locked();
  if (environment == nullptr) return std::nullopt;
  Lease lease = lend_locked(environment);
  lock.unlock();
  if (lease.was_frozen_) thaw(*environment);
  return lease;
}

Result<std::shared_ptr<Waiter>> FunctionPool::enqueue(std::function<void(Result<Lease>)> complete,
                                                      std::optional<TimePoint> init_deadline) {
  if (memory_bytes() > pool_.limits_.memory_bytes_max) {
    return Error{ErrorKind::unsupported, "memory_mb is " + std::to_string(config().memory_mb) +
                                             ", but this host admits " +
                                             std::to_string(pool_.limits_.memory_bytes_max >> 20) + " MB in all"};
  }
  auto waiter = std::make_shared<Waiter>();
  waiter->deadline = init_deadline
                         ? *init_deadline + kInitEndGrace
                         : Clock::now() + std::chrono::seconds(config().init_timeout_s) + kQueueWaitBeyondInit;
  waiter->init_deadline = init_deadline;
  waiter->complete = std::move(complete);
  {
    const std::lock_guard lock(mutex_);
    if (waiters_.size() >= config().queue_max) {
      return Error{ErrorKind::overloaded, "the queue of function " + config().name + " is full (queue_max " +
                                              std::to_string(config().queue_max) + "): retry later"};
    }
    waiters_.push_back(waiter);
  }
  pool_.wake_sweeper(waiter->deadline);
  return waiter;
}

bool FunctionPool::cancel(const std::shared_ptr<Waiter>& waiter) {
  const std::lock_guard lock(mutex_);
  return std::erase(waiters_, waiter) > 0;
}

void FunctionPool::lend_to_waiters(std::unique_lock<std::mutex> lock) {
  std::vector<std::pair<std::shared_ptr<Waiter>, Lease>> lends;
  while (!waiters_.empty()) {
    const auto environment = pick_locked();
    if (environment == nullptr) break;
    lends.emplace_back(std::move(waiters_.front()), lend_locked(environment));
    waiters_.pop_front();
  }
  end_unused_locked();
  lock.unlock();
  for (auto& [waiter, lease] : lends) {
    if (lease.was_frozen_) thaw(*lease.environment_);
    waiter->complete(std::move(lease));
  }
}

void FunctionPool::pump() {
  // Also when the spawner is lost: a start that fails would be tried again for ever.
  if (pool_.stopping_) return fail_waiters({ErrorKind::unavailable, "Thaw is shutting down"});
  lend_to_waiters(std::unique_lock(mutex_));
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (starts_wanted_locked() == 0) return;
    }
    if (!start_one()) return;
  }
}

void FunctionPool::fail_waiters(const Error& error) {
  std::deque<std::shared_ptr<Waiter>> failed;
  {
    const std::lock_guard lock(mutex_);
    failed.swap(waiters_);
  }
  for (const auto& waiter : failed) waiter->complete(error);
}

void FunctionPool::give_back(const std::shared_ptr<Environment>& environment,
                             std::unique_ptr<http::ClientConnection> connection) {
  {
    std::unique_lock lock(mutex_);
    --environment->inflight;
    environment->idle_since = Clock::now();
    if (environment->inflight == 0 && environment->state == EnvironmentState::busy)
      environment->state = EnvironmentState::idle;
    if (environment->retiring) {
      if (environment->inflight == 0) destroy_locked(environment);
    } else if (connection != nullptr && environment->state != EnvironmentState::ending) {
      environment->connections.push_back(std::move(connection));
    }
    lend_to_waiters(std::move(lock));
  }
  pool_.wake_sweeper(environment->idle_since + pool_.limits_.freeze_after);
  if (pool_.starved_) pool_.pump_starved();
}

void FunctionPool::retire(const std::shared_ptr<Environment>& environment, const char* reason) {
  {
    const std::lock_guard lock(mutex_);
    environment->retiring = true;
    if (--environment->inflight == 0) destroy_locked(environment, reason);
  }
  pump();
}

void FunctionPool::retire_all() {
  const std::lock_guard lock(mutex_);
  retired_ = true;
  end_unused_locked();
}

// Whoever waits for a revision that is replaced is served first, by any of its environments; those that are left over
// then end here, whichever they are.
void FunctionPool::end_unused_locked() {
  if (!retired_ || !waiters_.empty()) return;
  for (const auto& environment : environments_) {
    const bool unused = environment->state == EnvironmentState::idle || environment->state == EnvironmentState::frozen;
    if (unused && environment->inflight == 0) destroy_locked(environment);
  }
}

void FunctionPool::end_restored() {
  const std::lock_guard lock(mutex_);
  for (const auto& environment : environments_) {
    if (environment->restored && !environment->exit) destroy_locked(environment);
  }
}

void FunctionPool::stop() {
  fail_waiters({ErrorKind::unavailable, "Thaw is shutting down"});
  const std::lock_guard lock(mutex_);
  retired_ = true;
  for (const auto& environment : environments_) destroy_locked(environment);
}

void FunctionPool::on_exit(const sandbox::ExitInfo& exit) {
  std::shared_ptr<Environment> ended;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(environments_.begin(), environments_.end(),
                                    [&](const auto& environment) { return environment->id == exit.id; });
    if (found == environments_.end()) return;
    ended = *found;
    ended->exit = exit;
    // One that ends of itself as soon as it is initialised is not started over and over.
    if (ended->provisioned && ended->invocations == 0 && !ended->retiring &&
        ended->state != EnvironmentState::starting && exit.reason != sandbox::ExitReason::destroyed) {
      note_provision_failed_locked("the environment ended before its first invocation");
      pool_.wake_sweeper(provision_at_);
    } else if (ended->provisioned && ended->invocations > 0) {
      provision_pause_ = std::chrono::seconds(0);
    }
    if (ended->state != EnvironmentState::starting) ended->state = EnvironmentState::ending;
    ended->retiring = true;
    ended->connections.clear();
    ended->sockets.clear();
    environments_.erase(found);
  }
  if (ended->runtime != nullptr) ended->runtime->end();
  if (ended->calls != nullptr) ended->calls->end();
  const std::lock_guard lock(ended->control_mutex);
  ended->controls.reset();
}

// ---- The sweep ------------------------------------------------------------------------------------------------------

TimePoint FunctionPool::sweep(TimePoint now) {
  TimePoint next = TimePoint::max();
  std::vector<std::shared_ptr<Environment>> to_freeze;
  std::vector<std::unique_ptr<http::ClientConnection>> to_close;
  std::vector<std::shared_ptr<Waiter>> expired;
  bool lacks = false;
  {
    const std::lock_guard lock(mutex_);
    while (!waiters_.empty() && waiters_.front()->deadline <= now) {
      expired.push_back(std::move(waiters_.front()));
      waiters_.pop_front();
    }
    if (!waiters_.empty()) next = waiters_.front()->deadline;
    for (const auto& environment : environments_) {
      const bool idle = environment->state == EnvironmentState::idle;
      if (!idle && environment->state != EnvironmentState::frozen) continue;
      const TimePoint drop_at = environment->idle_since + std::chrono::seconds(config().idle_s);
      const TimePoint freeze_at = environment->idle_since + pool_.limits_.freeze_after;
      if (drop_at <= now && !environment->provisioned) {
        destroy_locked(environment);
      } else if (idle && freeze_at <= now && environment->runtime != nullptr && !environment->runtime->at_rest(now)) {
        // What its runtime still does after a response, it does before it asks for the next event.
        next = std::min(next, now + pool_.limits_.freeze_after);
        if (!environment->provisioned) next = std::min(next, drop_at);
      } else if (idle && freeze_at <= now) {
        environment->state = EnvironmentState::frozen;
        // Servers close idle connections by timers that fire right after a thaw: none is used across a freeze.
        std::move(environment->connections.begin(), environment->connections.end(), std::back_inserter(to_close));
        environment->connections.clear();
        to_freeze.push_back(environment);
        if (!environment->provisioned) next = std::min(next, drop_at);
      } else {
        if (idle) next = std::min(next, freeze_at);
        if (!environment->provisioned) next = std::min(next, drop_at);
      }
    }
    lacks = provision_lack_locked() > 0;
    if (lacks && provision_at_ > now) next = std::min(next, provision_at_);
  }
  if (lacks) pump();
  to_close.clear();
  for (const auto& environment : to_freeze) {
    const std::lock_guard control(environment->control_mutex);
    {
      const std::lock_guard lock(mutex_);
      if (environment->state != EnvironmentState::frozen) continue;  // lent again meanwhile
    }
    if (environment->controls == nullptr) continue;
    if (const Status status = environment->controls->freeze(); !status.ok()) {
      log::error("environment_freeze_failed id={} error={}", environment->id, status.error().message);
    }
  }
  for (const auto& waiter : expired) {
    waiter->complete(Error{ErrorKind::overloaded,
                           "no environment of function " + config().name + " became free in time: retry later"});
  }
  return next;
}

std::optional<TimePoint> FunctionPool::oldest_idle() {
  const std::lock_guard lock(mutex_);
  std::optional<TimePoint> oldest;
  for (const auto& environment : environments_) {
    const bool unused = environment->state == EnvironmentState::idle || environment->state == EnvironmentState::frozen;
    if (unused && !environment->provisioned && (!oldest || environment->idle_since < *oldest))
      oldest = environment->idle_since;
  }
  return oldest;
}

bool FunctionPool::drop_oldest_idle() {
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<Environment>* oldest = nullptr;
  for (const auto& environment : environments_) {
    const bool unused = environment->state == EnvironmentState::idle || environment->state == EnvironmentState::frozen;
    if (unused && !environment->provisioned && (oldest == nullptr || environment->idle_since < (*oldest)->idle_since))
      oldest = &environment;
  }
  if (oldest == nullptr) return false;
  destroy_locked(*oldest);
  return true;
}

// ---- Views ----------------------------------------------------------------------------------------------------------

bool FunctionPool::empty() {
  const std::lock_guard lock(mutex_);
  return environments_.empty() && waiters_.empty() && starting_ == 0 && provision_lack_locked() == 0;
}

void FunctionPool::add_to(PoolView& view) {
  const std::lock_guard lock(mutex_);
  view.queued += waiters_.size();
  for (const auto& environment : environments_) {
    view.starting += environment->state == EnvironmentState::starting;
    view.idle += environment->state == EnvironmentState::idle;
    view.busy += environment->state == EnvironmentState::busy;
    view.frozen += environment->state == EnvironmentState::frozen;
  }
}

FunctionView FunctionPool::view() {
  const TimePoint now = Clock::now();
  const std::lock_guard lock(mutex_);
  FunctionView view;
  view.queued = waiters_.size();
  for (const auto& environment : environments_) {
    view.environments.push_back({.id = environment->id,
                                 .state = environment->state,
                                 .inflight = environment->inflight,
                                 .invocations = environment->invocations,
                                 .age = std::chrono::duration_cast<std::chrono::seconds>(now - environment->started_at),
                                 .memory_peak_bytes = environment->memory_peak_bytes,
                                 .init_took = environment->init_took});
  }
  return view;
}

}  // namespace thaw::pool
