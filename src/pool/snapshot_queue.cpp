// When snapshots are made, and what becomes of the outcome.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <cstdio>

#include "base/log.h"
#include "base/timestamp.h"
#include "http/off_loop.h"
#include "pool/pool.h"
#include "pool/snapshot_making.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::pool {

using Clock = std::chrono::steady_clock;
using model::VersionPhase;
using namespace std::chrono_literals;

namespace {

constexpr auto kRetryAfterMax = std::chrono::milliseconds(1h);

// Lambda's StateReasonCode for an init that failed.
const char* reason_code(const MakingFailure& failure) {
  if (failure.stage != MakingStage::init) return "FunctionError";
  if (failure.error.code == "Init.TimedOut" || failure.error.code == "Sandbox.Timedout")
    return "FunctionError.InitTimeout";
  if (failure.error.code == "Init.ExecFailed" || failure.error.code == "Runtime.InvalidEntrypoint")
    return "FunctionError.InvalidEntryPoint";
  if (failure.error.code == "Init.OutOfMemory" || failure.error.code == "Runtime.OutOfMemory" ||
      failure.error.kind == ErrorKind::unsupported)
    return "FunctionError.InitResourceExhausted";
  return "FunctionError.RuntimeInitError";
}

// Whether the function itself is to blame, so that it is not tried again.
bool is_functions_fault(const MakingFailure& failure) {
  if (failure.stage == MakingStage::freeze || failure.stage == MakingStage::trial) return false;
  return failure.error.kind == ErrorKind::function_failed || failure.error.kind == ErrorKind::unsupported;
}

}  // namespace

void SnapshotMaker::want_locked(Entry& entry, std::chrono::milliseconds after) {
  entry.wanted_at = Clock::now() + after;
}

void SnapshotMaker::want_after_failure_locked(Entry& entry) {
  if (++entry.failures >= limits_.failures_max) {
    entry.wanted_at.reset();
    entry.state.no_snapshot += " (given up after " + std::to_string(entry.failures) + " failures)";
    return;
  }
  // The first time at once: most often the machine was started anew.
  auto after = entry.failures == 1 && entry.workshop == nullptr ? 0ms : limits_.retry_after;
  for (unsigned i = 2; i < entry.failures; ++i) after = std::min(2 * after, kRetryAfterMax);
  want_locked(entry, after);
}

void SnapshotMaker::pump() {
  for (const Due& due : take_due()) {
    http::Loop& loop = pool_.loops_.next();
    boost::asio::co_spawn(
        loop.executor(), [this, due, &loop] { return make(due, loop); }, boost::asio::detached);
  }
}

// The longest waiting first.
std::vector<SnapshotMaker::Due> SnapshotMaker::take_due() {
  std::vector<Due> due;
  std::optional<TimePoint> next;
  {
    const std::lock_guard lock(mutex_);
    const TimePoint now = Clock::now();
    while (makings_ < limits_.makings_at_once_max && !pool_.stopping_) {
      Entry* first = nullptr;
      for (auto& [revision, entry] : entries_) {
        if (entry.wanted_at && entry.workshop == nullptr && (first == nullptr || *entry.wanted_at < *first->wanted_at))
          first = &entry;
      }
      if (first == nullptr) break;
      if (*first->wanted_at > now) {
        next = *first->wanted_at;
        break;
      }
      first->wanted_at.reset();
      first->making = "waiting";
      first->workshop = pool_.open_workshop(first->version);
      ++makings_;
      due.push_back({first->version, first->workshop});
    }
  }
  if (next) wake_at(*next);
  return due;
}

void SnapshotMaker::wake_at(TimePoint at) {
  boost::asio::post(timer_.get_executor(), [this, at] {
    timer_.expires_at(at);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) pump();
    });
  });
}

http::Task<> SnapshotMaker::make(Due due, http::Loop& loop) {
  Making making(
      due.workshop, folder_, limits_.memory_folder, worker_, loop, [this, version = due.version](std::string step) {
        log::debug("snapshot_step function={} version={} step=\"{}\"", version->config.name, version->version, step);
        const std::lock_guard lock(mutex_);
        if (Entry* entry = find_locked(version->revision_id)) entry->making = std::move(step);
      });
  MakingOutcome outcome = co_await making.run();
  pool_.close_workshop(due.workshop);
  co_await http::off_loop(worker_, loop, [&] {
    settle(due.version, outcome);
    return true;
  });
  {
    const std::lock_guard lock(mutex_);
    --makings_;
  }
  pump();
}

void SnapshotMaker::settle(const RecordPointer& version, MakingOutcome& outcome) {
  const std::string& revision = version->revision_id;
  if (!outcome.failure) {
    if (const Status kept = keep(version, outcome); !kept.ok())
      outcome.failure.emplace(MakingFailure{MakingStage::freeze, kept.error()});
  }
  // Interrupted: what was known before stands, and the next daemon goes on from there.
  if (outcome.failure && pool_.stopping_) return;
  if (outcome.failure) on_failure(version, outcome);
  // Who deleted it may have looked before it was published, and have told nobody.
  if (was_deleted(*version)) return forget(*version);
  bool gone = false;
  std::optional<model::VersionState> state;
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = find_locked(revision);
    gone = entry == nullptr;
    if (!gone) {
      entry->workshop.reset();
      entry->making.clear();
      state = entry->state;
    }
  }
  if (state) save(revision, *state);
  if (gone) folder_.forget(revision);
}

Status SnapshotMaker::keep(const RecordPointer& version, MakingOutcome& outcome) {
  const std::uint64_t bytes = snapshot::SnapshotFolder::disk_bytes(outcome.image);
  RETURN_IF_ERROR(make_room(version->revision_id, bytes));
  RETURN_IF_ERROR(folder_.publish(outcome.image, version->revision_id));
  // That of the trial holds the same pages, and what its clone has used: the next restore need not read the file.
  images_.put(version->revision_id, outcome.memory);
  snapshot::SnapshotFolder::mark_used(outcome.image);
  const sandbox::Frozen& frozen = outcome.frozen;
  log::info("snapshot_made function={} version={} bytes={} threads={} held_ms={:.1f}", version->config.name,
            version->version, frozen.file_bytes, frozen.threads, static_cast<double>(frozen.held.count()) / 1000.0);
  char line[80];
  std::snprintf(line, sizeof(line), "INIT_REPORT Init Duration: %.2f ms\tPhase: init\tStatus: success\n",
                static_cast<double>(outcome.init_took.count()) / 1000.0);
  append_log(version, line);
  const std::lock_guard lock(mutex_);
  Entry* entry = find_locked(version->revision_id);
  if (entry == nullptr) return {};  // deleted meanwhile: settle() clears up
  entry->state = {.phase = VersionPhase::active, .snapshot_made_at = timestamp_now()};
  entry->image_bytes = std::max<std::uint64_t>(bytes, 1);
  entry->removed_for_room = false;
  entry->used_at = std::chrono::system_clock::now();
  return {};
}

void SnapshotMaker::on_failure(const RecordPointer& version, const MakingOutcome& outcome) {
  const MakingFailure& failure = *outcome.failure;
  const std::string& message = failure.error.message;
  const std::string why = failure.stage == MakingStage::trial ? "a clone of it did not answer: " + message : message;
  bool failed = false;
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = find_locked(version->revision_id);
    if (entry == nullptr) return;
    failed = entry->state.phase == VersionPhase::pending && is_functions_fault(failure);
    if (failed) {
      entry->state = {.phase = VersionPhase::failed, .reason_code = reason_code(failure), .reason = message};
    } else if (entry->image_bytes == 0) {
      const bool hopeless = failure.stage == MakingStage::freeze && (failure.error.kind == ErrorKind::unsupported ||
                                                                     failure.error.kind == ErrorKind::too_large);
      entry->state.phase = VersionPhase::active;
      entry->state.no_snapshot = why;
      entry->state.retry = !hopeless;
      entry->state.snapshot_made_at.clear();
      if (!hopeless) want_after_failure_locked(*entry);
    }
  }
  log::warn("snapshot_failed function={} version={} error=\"{}\"", version->config.name, version->version, why);
  append_log(version, failed ? "[thaw] version " + version->version + " failed: " + message + "\n"
                             : "[thaw] no snapshot, so this version starts by init: " + why + "\n");
}

void SnapshotMaker::append_log(const RecordPointer& version, const std::string& lines) {
  std::shared_ptr<FunctionPool> workshop;
  {
    const std::lock_guard lock(mutex_);
    if (const Entry* entry = find_locked(version->revision_id)) workshop = entry->workshop;
  }
  if (workshop != nullptr) workshop->log()->append(lines);
}

void SnapshotMaker::save(const std::string& revision_id, const model::VersionState& state) {
  if (const Status saved = folder_.save_state(revision_id, model::to_json(state)); !saved.ok())
    log::warn("version_state_not_saved revision={} error=\"{}\"", revision_id, saved.error().message);
  // Deleted while it was written: forget() may have come between.
  bool gone = false;
  {
    const std::lock_guard lock(mutex_);
    gone = find_locked(revision_id) == nullptr;
  }
  if (gone) folder_.forget(revision_id);
}

}  // namespace thaw::pool
