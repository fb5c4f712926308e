#include "adapters/nats/event_queue.h"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <optional>

#include "adapters/nats/event_reader.h"
#include "adapters/nats/event_streams.h"
#include "base/uuid.h"

namespace thaw::adapters {
namespace {

using ports::DeadEvent;
using ports::NewEvent;
using ports::QueueCounts;
using ports::Settlement;
using ports::Take;
using ports::TakenEvent;
using Clock = EventIndex::Clock;

// Of one wait, so that a clock of day that was set back is noticed.
constexpr std::chrono::milliseconds kWaitMax{60000};
// How long the stream may take to be read after a connection was made.
constexpr std::chrono::milliseconds kLoadMax{30000};
// An event that somebody else was quicker to take is looked at again then: what they did is read by that time.
constexpr std::int64_t kLostRaceMs = 250;
// Of events in one message to the other nodes.
constexpr std::size_t kToldMax = 256;

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

EventRecord record_of(const NewEvent& event) {
  return {.lane = event.lane, .accepted_ms = event.accepted_ms, .due_ms = event.due_ms};
}

// Threads: the view's mutex guards the index; it is not held while the server is asked.
class NatsEventQueue final : public ports::EventQueue {
 public:
  explicit NatsEventQueue(const NatsQueueOptions& options)
      : options_(options), self_(random_uuid()), view_(self_, options.owner_gone) {}

  Status open() {
    ASSIGN_OR_RETURN(connection_,
                     NatsConnection::open({.urls = options_.urls, .credentials_file = options_.credentials_file}));
    streams_.emplace(*connection_, options_.stream);
    RETURN_IF_ERROR(streams_->open(options_));
    reader_.emplace(*connection_, *streams_, view_, EventReader::Options{self_, options_.owner_gone});
    RETURN_IF_ERROR(reader_->start());
    std::unique_lock lock(view_.mutex);
    return wait_loaded(lock);
  }

  Status put(std::span<const NewEvent> events) override {
    RETURN_IF_ERROR(ports::check_events(events));
    std::uint64_t bytes = 0;
    for (const NewEvent& event : events) bytes += event.body.size();
    {
      std::unique_lock lock(view_.mutex);
      RETURN_IF_ERROR(wait_loaded(lock));
      if (view_.index.events() + coming_events_ + events.size() > options_.events_max ||
          view_.index.bytes() + coming_bytes_ + bytes > options_.bytes_max)
        return full();
      coming_events_ += events.size();
      coming_bytes_ += bytes;
    }
    const Status done = store(events, OnFailure::take_back);
    const std::lock_guard lock(view_.mutex);
    coming_events_ -= events.size();
    coming_bytes_ -= bytes;
    view_.changed.notify_all();
    return done;
  }

  Result<std::vector<TakenEvent>> take(const Take& take) override {
    const auto until = Clock::now() + take.wait_max;
    std::unique_lock lock(view_.mutex);
    while (true) {
      RETURN_IF_ERROR(wait_loaded(lock));
      const std::uint64_t seen = view_.changes;
      std::int64_t next_due = std::numeric_limits<std::int64_t>::max();
      const auto next_lease = view_.index.expire_leases(Clock::now());
      std::vector<EventIndex::Entry> picked = view_.index.pick(take.count_max, take.room, now_ms(), next_due);
      if (!picked.empty()) {
        lock.unlock();
        auto taken = acquire(picked, take.lease);
        lock.lock();
        if (!taken.ok() || !taken->empty()) {
          woken_ = false;
          return taken;
        }
        continue;
      }
      const auto now = Clock::now();
      if (woken_ || now >= until) {
        woken_ = false;
        return std::vector<TakenEvent>();
      }
      const auto to_due = std::chrono::milliseconds(std::clamp<std::int64_t>(
          next_due == std::numeric_limits<std::int64_t>::max() ? kWaitMax.count() : next_due - now_ms(), 1,
          kWaitMax.count()));
      view_.changed.wait_until(lock, std::min({until, now + to_due, next_lease}),
                               [&] { return view_.changes != seen || woken_; });
    }
  }

  void wake() override {
    const std::lock_guard lock(view_.mutex);
    woken_ = true;
    view_.changed.notify_all();
  }

  Status settle(std::span<const Settlement> settlements) override {
    for (const Settlement& settlement : settlements) RETURN_IF_ERROR(ports::check_events(settlement.next));
    // What follows an event is stored before it goes: a crash in between gives it out again, and loses nothing.
    std::vector<Ended> ended;
    {
      const std::lock_guard lock(view_.mutex);
      view_.index.expire_leases(Clock::now());
      for (const Settlement& settlement : settlements) {
        const EventIndex::Lease* const lease = view_.index.find(settlement.handle);
        if (lease == nullptr) continue;
        if (settlement.kind == Settlement::Kind::extend) {
          view_.index.extend(settlement.handle, Clock::now() + std::chrono::milliseconds(settlement.due_ms - now_ms()));
        } else {
          ended.push_back({&settlement, *lease});
        }
      }
    }
    for (const Ended& one : ended) {
      if (one.settlement->kind == Settlement::Kind::done) RETURN_IF_ERROR(follow(one));
      if (one.settlement->kind == Settlement::Kind::bury) RETURN_IF_ERROR(bury(one));
    }
    RETURN_IF_ERROR(put_back(ended));
    return remove(ended);
  }

  Result<QueueCounts> counts() override {
    ASSIGN_OR_RETURN(const EventStreams::Counts dead, streams_->dead_counts());
    std::unique_lock lock(view_.mutex);
    RETURN_IF_ERROR(wait_loaded(lock));
    return QueueCounts{.events = view_.index.events(),
                       .bytes = view_.index.bytes(),
                       .taken = view_.index.taken(),
                       .dead = dead.messages};
  }

  Result<std::vector<DeadEvent>> dead(std::size_t count_max) override {
    ASSIGN_OR_RETURN(const EventStreams::Counts counts, streams_->dead_counts());
    std::vector<DeadEvent> found;
    if (counts.messages == 0) return found;
    for (std::uint64_t at = counts.last; at >= counts.first && at > 0 && found.size() < count_max; --at) {
      ASSIGN_OR_RETURN(const auto messages, streams_->get_dead(std::vector<std::uint64_t>{at}));
      if (messages[0] == nullptr) continue;
      const auto record = decode_dead_record(field_of(messages[0].get(), "Thaw-Dead"));
      if (!record.ok()) continue;
      found.push_back({.id = record->id,
                       .lane = record->lane,
                       .body = std::string(body_of(messages[0].get())),
                       .reason = record->reason,
                       .accepted_ms = record->accepted_ms,
                       .died_ms = record->died_ms});
    }
    return found;
  }

 private:
  struct Ended {
    const Settlement* settlement = nullptr;
    EventIndex::Lease lease;
  };
  enum class OnFailure : std::uint8_t { take_back, leave };

  Error full() const {
    return {ErrorKind::overloaded, "the queue of events is full: " + std::to_string(options_.events_max) +
                                       " events and " + std::to_string(options_.bytes_max >> 20) +
                                       " MB are the most; retry later"};
  }

  // What takes and puts rest on is known.
  Status wait_loaded(std::unique_lock<std::mutex>& lock) {
    const auto until = Clock::now() + kLoadMax;
    while (!view_.loaded) {
      if (!connection_->connected()) return connection_->unavailable("it is away");
      if (Clock::now() >= until) return connection_->unavailable("its stream could not be read in time");
      view_.changed.wait_for(lock, EventReader::kReadEvery);
    }
    return {};
  }

  Status store(std::span<const NewEvent> events, OnFailure on_failure) {
    std::vector<NatsRequest> requests;
    requests.reserve(events.size());
    for (const NewEvent& event : events) requests.push_back(streams_->event(event.id, record_of(event), event.body));
    ASSIGN_OR_RETURN(const std::vector<Stored> stored, streams_->store(requests));
    const auto refused = std::find_if(stored.begin(), stored.end(), [](const Stored& one) {
      return one.kind == Stored::Kind::failed || one.kind == Stored::Kind::full;
    });
    if (refused != stored.end() && on_failure == OnFailure::take_back) {
      std::vector<std::uint64_t> mine;
      for (const Stored& one : stored) {
        if (one.kind == Stored::Kind::stored) mine.push_back(one.sequence);
      }
      const Status back = streams_->erase(mine);
      const std::lock_guard lock(view_.mutex);
      for (std::size_t i = 0; back.ok() && i < events.size(); ++i) {
        if (stored[i].kind == Stored::Kind::stored) view_.index.erase_event(stored[i].sequence, events[i].id);
      }
    } else {
      const std::lock_guard lock(view_.mutex);
      for (std::size_t i = 0; i < events.size(); ++i) {
        if (stored[i].kind == Stored::Kind::stored)
          view_.index.put(stored[i].sequence, events[i].id, record_of(events[i]), events[i].body.size());
      }
      view_.note_change();
    }
    if (refused == stored.end()) return {};
    if (refused->kind == Stored::Kind::full)
      return Error{ErrorKind::overloaded, "the queue of events is full: the NATS server says: " + refused->why};
    return connection_->unavailable(refused->why);
  }

  // Says on the server that they are this process's, and reads their bodies.
  Result<std::vector<TakenEvent>> acquire(const std::vector<EventIndex::Entry>& picked,
                                          std::chrono::milliseconds lease) {
    std::vector<NatsRequest> requests;
    requests.reserve(picked.size());
    for (const EventIndex::Entry& entry : picked)
      requests.push_back(streams_->state(entry.id, own_state(entry), entry.state_sequence));
    auto stored = streams_->store(requests);
    std::vector<TakenEvent> taken;
    Status failed = stored.ok() ? Status() : stored.error();
    std::vector<const EventIndex::Entry*> mine;
    std::vector<std::uint64_t> states;
    {
      const std::lock_guard lock(view_.mutex);
      for (std::size_t i = 0; i < picked.size(); ++i) {
        const Stored::Kind kind = stored.ok() ? (*stored)[i].kind : Stored::Kind::failed;
        if (kind == Stored::Kind::stored) {
          view_.index.set((*stored)[i].sequence, picked[i].id, own_state(picked[i]));
          mine.push_back(&picked[i]);
          states.push_back((*stored)[i].sequence);
          continue;
        }
        if (kind != Stored::Kind::other_sequence && failed.ok()) failed = connection_->unavailable((*stored)[i].why);
        view_.index.unpick(picked[i].id, now_ms() + kLostRaceMs);
      }
    }
    for (std::size_t at = 0; at < mine.size();) {
      std::vector<std::uint64_t> sequences;
      for (std::size_t bytes = 0; at + sequences.size() < mine.size() && sequences.size() < EventStreams::kBatchMax;) {
        const EventIndex::Entry& entry = *mine[at + sequences.size()];
        bytes += entry.bytes;
        if (!sequences.empty() && bytes > EventStreams::kBatchBytesMax) break;
        sequences.push_back(entry.sequence);
      }
      auto bodies = failed.ok() ? streams_->get(sequences) : Result<std::vector<NatsMessage>>(failed.error());
      if (!bodies.ok()) failed = bodies.error();
      const std::lock_guard lock(view_.mutex);
      for (std::size_t i = 0; i < sequences.size(); ++i) {
        const EventIndex::Entry& entry = *mine[at + i];
        if (!bodies.ok()) {
          view_.index.unpick(entry.id, now_ms() + kLostRaceMs);
        } else if ((*bodies)[i] == nullptr) {
          view_.index.unpick(entry.id, 0);
          view_.index.erase_event(entry.sequence, entry.id);
          view_.index.erase_state(states[at + i], entry.id);
          streams_->erase_later(states[at + i]);
        } else {
          taken.push_back(taken_of(entry, states[at + i], lease, *(*bodies)[i]));
        }
      }
      at += sequences.size();
    }
    if (taken.empty() && !failed.ok()) return std::move(failed).error();
    return taken;
  }

  StateRecord own_state(const EventIndex::Entry& entry) const {
    return {.event_sequence = entry.sequence,
            .owner = self_,
            .attempts = entry.has_state() ? entry.state.attempts : 0,
            .failures = entry.has_state() ? entry.state.failures : 0};
  }

  TakenEvent taken_of(const EventIndex::Entry& entry, std::uint64_t state, std::chrono::milliseconds lease,
                      const natsMsg& message) {
    const std::string_view body = body_of(&message);
    return {.handle = view_.index.lease(
                {.id = entry.id, .sequence = entry.sequence, .state_sequence = state, .until = Clock::now() + lease}),
            .id = entry.id,
            .lane = entry.event.lane,
            .body = std::string(body),
            .accepted_ms = entry.event.accepted_ms,
            .attempts = entry.has_state() ? entry.state.attempts : 0,
            .failures = entry.has_state() ? entry.state.failures : 0,
            .again = entry.given_out()};
  }

  // Once: a settlement that is tried again must not put what has run meanwhile.
  Status follow(const Ended& one) {
    if (one.settlement->next.empty() || one.lease.followed) return {};
    RETURN_IF_ERROR(store(one.settlement->next, OnFailure::leave));
    const std::lock_guard lock(view_.mutex);
    view_.index.note_followed(one.settlement->handle);
    return {};
  }

  Status bury(const Ended& one) {
    ASSIGN_OR_RETURN(const auto messages, streams_->get(std::vector<std::uint64_t>{one.lease.sequence}));
    if (messages[0] == nullptr) return {};
    ASSIGN_OR_RETURN(const EventRecord event, decode_event_record(field_of(messages[0].get(), "Thaw-Event")));
    const DeadRecord record{.id = one.lease.id,
                            .lane = event.lane,
                            .accepted_ms = event.accepted_ms,
                            .died_ms = now_ms(),
                            .reason = one.settlement->reason.substr(0, ports::kEventReasonBytesMax)};
    const std::vector<NatsRequest> requests{
        streams_->dead(record, body_of(messages[0].get()), std::to_string(one.lease.sequence))};
    ASSIGN_OR_RETURN(const std::vector<Stored> stored, streams_->store(requests));
    if (stored[0].kind != Stored::Kind::stored) return connection_->unavailable("a dead event: " + stored[0].why);
    return {};
  }

  // Retries: the state says when, and that nobody has it. One that somebody else has by now is left to them.
  Status put_back(const std::vector<Ended>& ended) {
    std::vector<const Ended*> retries;
    std::vector<StateRecord> states;
    std::vector<NatsRequest> requests;
    for (const Ended& one : ended) {
      if (one.settlement->kind != Settlement::Kind::retry) continue;
      states.push_back({.event_sequence = one.lease.sequence,
                        .owner = {},
                        .due_ms = one.settlement->due_ms,
                        .attempts = one.settlement->attempts,
                        .failures = one.settlement->failures});
      requests.push_back(streams_->state(one.lease.id, states.back(), one.lease.state_sequence));
      retries.push_back(&one);
    }
    if (requests.empty()) return {};
    ASSIGN_OR_RETURN(const std::vector<Stored> stored, streams_->store(requests));
    Status failed;
    const std::lock_guard lock(view_.mutex);
    for (std::size_t i = 0; i < retries.size(); ++i) {
      if (stored[i].kind == Stored::Kind::stored) {
        view_.index.set(stored[i].sequence, retries[i]->lease.id, std::move(states[i]));
      } else if (stored[i].kind != Stored::Kind::other_sequence) {
        failed = connection_->unavailable(stored[i].why);
        continue;
      }
      view_.index.release(retries[i]->settlement->handle);
    }
    view_.note_change();
    return failed;
  }

  // Events that are over go, and then their states; the other nodes are told, who do not see what is deleted.
  Status remove(const std::vector<Ended>& ended) {
    std::vector<std::uint64_t> sequences;
    for (const Ended& one : ended) {
      if (one.settlement->kind != Settlement::Kind::retry) sequences.push_back(one.lease.sequence);
    }
    if (sequences.empty()) return {};
    RETURN_IF_ERROR(streams_->erase(sequences));
    std::string told;
    std::size_t count = 0;
    for (const Ended& one : ended) {
      if (one.settlement->kind == Settlement::Kind::retry) continue;
      streams_->erase_later(one.lease.state_sequence);
      told += encode(GoneRecord{one.lease.id, one.lease.sequence, one.lease.state_sequence});
      if (++count % kToldMax == 0) (void)connection_->tell(streams_->gone_subject(), std::exchange(told, {})).ok();
    }
    if (!told.empty()) (void)connection_->tell(streams_->gone_subject(), told).ok();
    const std::lock_guard lock(view_.mutex);
    for (const Ended& one : ended) {
      if (one.settlement->kind == Settlement::Kind::retry) continue;
      view_.index.erase_event(one.lease.sequence, one.lease.id);
      view_.index.erase_state(one.lease.state_sequence, one.lease.id);
      view_.index.release(one.settlement->handle);
    }
    view_.note_change();
    return {};
  }

  const NatsQueueOptions options_;
  const std::string self_;
  EventView view_;
  // Guarded by view_.mutex, these three.
  std::uint64_t coming_events_ = 0;  // puts that are under way
  std::uint64_t coming_bytes_ = 0;
  bool woken_ = false;
  // Last, and in this order, so that what their threads use outlives them.
  std::unique_ptr<NatsConnection> connection_;
  std::optional<EventStreams> streams_;
  std::optional<EventReader> reader_;
};

}  // namespace

Status check_nats_stream(std::string_view name) {
  constexpr std::size_t kNameBytesMax = 64;
  const bool fits = !name.empty() && name.size() <= kNameBytesMax && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
  if (fits) return {};
  return invalid_argument("a stream's name must be 1 to " + std::to_string(kNameBytesMax) +
                          " letters, digits, - and _");
}

Result<std::unique_ptr<ports::EventQueue>> open_nats_event_queue(const NatsQueueOptions& options) {
  RETURN_IF_ERROR(check_nats_stream(options.stream));
  auto queue = std::make_unique<NatsEventQueue>(options);
  RETURN_IF_ERROR(queue->open());
  return std::unique_ptr<ports::EventQueue>(std::move(queue));
}

}  // namespace thaw::adapters
