#include "events/event_dispatcher.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <random>

#include "base/log.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::events {
namespace {

using Clock = std::chrono::steady_clock;
using ports::Settlement;
using ports::TakenEvent;

// A queue that cannot be reached is asked again after this long.
constexpr std::chrono::milliseconds kAskAgainAfter{1000};

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Which version of a weighted alias; not secret.
double draw() {
  thread_local std::minstd_rand generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(generator);
}

// Whether trying again makes sense.
bool passes(const Error& error) {
  switch (error.kind) {
    case ErrorKind::overloaded:
    case ErrorKind::unavailable:
    case ErrorKind::timeout:
    case ErrorKind::internal:
      return true;
    default:
      return false;
  }
}

std::chrono::milliseconds age_of(const TakenEvent& taken) {
  return std::chrono::milliseconds(std::max<std::int64_t>(0, now_ms() - taken.accepted_ms));
}

RetryRule rule_of(RetryRule rule, const model::EventInvokeConfig& config) {
  if (config.maximum_retry_attempts) rule.retries_max = *config.maximum_retry_attempts;
  if (config.maximum_event_age_s) rule.age_max = std::chrono::seconds(*config.maximum_event_age_s);
  return rule;
}

Settlement retry(const TakenEvent& taken, const Verdict& verdict) {
  return {.handle = taken.handle,
          .kind = Settlement::Kind::retry,
          .due_ms = now_ms() + verdict.wait.count(),
          .attempts = verdict.attempts,
          .failures = verdict.failures};
}

}  // namespace

EventDispatcher::EventDispatcher(ports::EventQueue& queue, control::Catalog& catalog, EventInvoker& invoker,
                                 http::Loops& loops, DispatcherOptions options)
    : queue_(queue), catalog_(catalog), invoker_(invoker), loops_(loops), options_(std::move(options)) {}

void EventDispatcher::start() {
  worker_ = std::thread([this] { work(); });
}

void EventDispatcher::stop_taking() {
  {
    const std::lock_guard lock(mutex_);
    taking_ = false;
    changed_.notify_all();
  }
  queue_.wake();
}

void EventDispatcher::stop() {
  {
    const std::lock_guard lock(mutex_);
    taking_ = false;
    stopping_ = true;
    changed_.notify_all();
  }
  queue_.wake();
  if (worker_.joinable()) worker_.join();
}

std::size_t EventDispatcher::running() const {
  const std::lock_guard lock(mutex_);
  return runs_.size();
}

DispatcherTotals EventDispatcher::totals() const {
  return {.succeeded = succeeded_,
          .retried = retried_,
          .failed = failed_,
          .dead = dead_,
          .again = again_,
          .delivered = delivered_};
}

void EventDispatcher::work() {
  auto extended_at = Clock::now();
  const auto extend_every = options_.lease / 3;
  while (true) {
    std::size_t places = 0;
    bool stopping = false;
    {
      std::unique_lock lock(mutex_);
      // With every place taken, or none to take for, only the end of a run is of interest.
      changed_.wait_until(lock, extended_at + extend_every, [&] {
        return stopping_ || !settlements_.empty() || (taking_ && runs_.size() < options_.parallel_max);
      });
      stopping = stopping_;
    }
    const bool told = flush();
    if (stopping) return;
    if (!told) std::this_thread::sleep_for(kAskAgainAfter);
    if (Clock::now() >= extended_at + extend_every) {
      extend();
      extended_at = Clock::now();
    }
    {
      const std::lock_guard lock(mutex_);
      if (taking_ && runs_.size() < options_.parallel_max) places = options_.parallel_max - runs_.size();
    }
    if (places > 0) take_some(places);
  }
}

// False when the queue could not be told: the settlements wait, and their places with them.
bool EventDispatcher::flush() {
  std::vector<Settlement> settlements;
  {
    const std::lock_guard lock(mutex_);
    settlements.swap(settlements_);
  }
  if (settlements.empty()) return true;
  const Status done = queue_.settle(settlements);
  const std::lock_guard lock(mutex_);
  if (!done.ok()) {
    log::error("events_not_settled count={} error=\"{}\"", settlements.size(), done.error().message);
    settlements_.insert(settlements_.end(), settlements.begin(), settlements.end());
    return false;
  }
  for (const Settlement& settlement : settlements) {
    const auto run = runs_.find(settlement.handle);
    if (run == runs_.end()) continue;
    const auto lane = lanes_.find(run->second);
    if (--lane->second == 0) lanes_.erase(lane);
    runs_.erase(run);
  }
  return true;
}

void EventDispatcher::extend() {
  std::vector<Settlement> settlements;
  {
    const std::lock_guard lock(mutex_);
    const std::int64_t until = now_ms() + options_.lease.count();
    for (const auto& [handle, lane] : runs_)
      settlements.push_back({.handle = handle, .kind = Settlement::Kind::extend, .due_ms = until});
  }
  if (settlements.empty()) return;
  if (const Status done = queue_.settle(settlements); !done.ok())
    log::error("event_leases_not_extended count={} error=\"{}\"", settlements.size(), done.error().message);
}

std::size_t EventDispatcher::room(std::string_view lane) const {
  const std::lock_guard lock(mutex_);
  const auto found = lanes_.find(std::string(lane));
  const std::size_t used = found == lanes_.end() ? 0 : found->second;
  return used < options_.lane_max ? options_.lane_max - used : 0;
}

void EventDispatcher::take_some(std::size_t places) {
  auto taken = queue_.take({.count_max = places,
                            .lease = options_.lease,
                            .wait_max = options_.lease / 3,
                            .room = [this](std::string_view lane) { return room(lane); }});
  if (!taken.ok()) {
    log::error("events_not_taken error=\"{}\"", taken.error().message);
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kAskAgainAfter, [this] { return stopping_; });
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    for (const TakenEvent& event : *taken) {
      runs_[event.handle] = event.lane;
      ++lanes_[event.lane];
    }
  }
  for (TakenEvent& event : *taken) {
    if (event.again) {
      ++again_;
      log::warn("event_runs_again request_id={}", event.id);
    }
    http::Loop& loop = loops_.next();
    boost::asio::co_spawn(loop.executor(), run(loop, std::move(event)), boost::asio::detached);
  }
}

http::Task<> EventDispatcher::run(http::Loop& loop, TakenEvent taken) {
  auto event = decode_queued_event(taken.body);
  taken.body.clear();
  if (!event.ok()) co_return over(bury(taken, event.error().message));
  if (event->kind == QueuedEvent::Kind::deliver) co_return co_await deliver(loop, std::move(taken), std::move(*event));
  EventRequest request;
  request.record = catalog_.find({event->function, event->qualifier}, draw());
  if (request.record == nullptr) co_return over(bury(taken, "there is no function " + event->function_arn));
  const model::EventInvokeConfig config = config_of(*event);
  if (age_of(taken) > rule_of(options_.rule, config).age_max) co_return over(settle(taken, *event, config, nullptr));
  request.request_id = taken.id;
  request.function_arn = event->function_arn;
  request.payload = event->payload;
  request.client_context = event->client_context;
  request.trace_id = event->trace_id;
  request.hops = event->chain;
  const EventResult result = co_await invoker_.run(loop, std::move(request));
  over(settle(taken, *event, config, &result));
}

http::Task<> EventDispatcher::deliver(http::Loop& loop, TakenEvent taken, QueuedEvent event) {
  Delivery delivery;
  auto destination = model::parse_destination(event.target);
  if (!destination.ok()) co_return over(bury(taken, "the destination " + destination.error().message));
  delivery.destination = std::move(*destination);
  delivery.function = std::move(event.function);
  delivery.id = taken.id;
  delivery.record = std::move(event.payload);
  const Status done = co_await http::off_loop(deliverers_, loop, [&] { return options_.deliver(delivery); });
  if (done.ok()) {
    ++delivered_;
    co_return over({.handle = taken.handle});
  }
  const Verdict verdict = judge(options_.rule, Outcome::not_run, taken.attempts, taken.failures, age_of(taken));
  if (verdict.next != Verdict::Next::again || !passes(done.error())) {
    co_return over(bury(taken, "not delivered to " + event.target + ": " + done.error().message));
  }
  log::warn("event_record_not_delivered id={} target={} error=\"{}\"", taken.id, event.target, done.error().message);
  over(retry(taken, verdict));
}

model::EventInvokeConfig EventDispatcher::config_of(const QueuedEvent& event) const {
  const std::string_view qualifier = event.qualifier == model::kLatestVersion ? "" : std::string_view(event.qualifier);
  const auto stored = catalog_.setting(event.function, control::SettingKind::event_invoke, qualifier);
  if (stored == nullptr) return {};
  auto config = model::event_invoke_from_json(*stored);
  if (config.ok()) return *std::move(config);
  log::error("event_invoke_config_unreadable function={} error=\"{}\"", event.function, config.error().message);
  return {};
}

Settlement EventDispatcher::settle(const TakenEvent& taken, const QueuedEvent& event,
                                   const model::EventInvokeConfig& config, const EventResult* result) {
  if (result != nullptr && !result->status.ok() && !passes(result->status.error()))
    return bury(taken, result->status.error().message);
  Verdict verdict{.next = Verdict::Next::too_old, .attempts = taken.attempts};
  if (result != nullptr) {
    const Outcome outcome = !result->status.ok()             ? Outcome::not_run
                            : result->function_error.empty() ? Outcome::success
                                                             : Outcome::function_error;
    verdict = judge(rule_of(options_.rule, config), outcome, taken.attempts, taken.failures, age_of(taken));
  }
  if (verdict.next == Verdict::Next::again) {
    ++retried_;
    return retry(taken, verdict);
  }
  return end({.event = event,
              .request_id = taken.id,
              .condition = verdict.next == Verdict::Next::succeeded   ? Condition::success
                           : verdict.next == Verdict::Next::exhausted ? Condition::retries_exhausted
                                                                      : Condition::event_age_exceeded,
              .attempts = verdict.attempts,
              .result = result},
             taken.handle, config);
}

Settlement EventDispatcher::end(const Ending& ending, std::uint64_t handle, const model::EventInvokeConfig& config) {
  if (ending.condition == Condition::success) {
    ++succeeded_;
  } else {
    ++failed_;
    log::warn("event_given_up function={} request_id={} attempts={} condition={}", ending.event.function,
              ending.request_id, ending.attempts, to_string(ending.condition));
  }
  auto next = follow_ups(ending, config);
  if (next.ok()) return {.handle = handle, .next = std::move(*next)};
  ++dead_;
  log::warn("event_dead request_id={} lane={} reason=\"{}\"", ending.request_id, lane_of(ending.event),
            next.error().message);
  return {.handle = handle, .kind = Settlement::Kind::bury, .reason = next.error().message};
}

Settlement EventDispatcher::bury(const TakenEvent& taken, std::string_view reason) {
  ++dead_;
  log::warn("event_dead request_id={} lane={} reason=\"{}\"", taken.id, taken.lane, reason);
  return {.handle = taken.handle, .kind = Settlement::Kind::bury, .reason = std::string(reason)};
}

void EventDispatcher::over(Settlement settlement) {
  {
    const std::lock_guard lock(mutex_);
    settlements_.push_back(std::move(settlement));
    changed_.notify_all();
  }
  queue_.wake();
}

}  // namespace thaw::events
