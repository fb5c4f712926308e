#include "adapters/sqlite/event_store.h"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "adapters/sqlite/database.h"

namespace thaw::adapters {
namespace {

using ports::DeadEvent;
using ports::NewEvent;
using ports::QueueCounts;
using ports::Settlement;
using ports::Take;
using ports::TakenEvent;
using Durability = SqliteTransaction::Durability;

constexpr std::int64_t kSchemaVersion = 1;
// Of one wait, so that a clock of day that was set back is noticed.
constexpr std::chrono::milliseconds kWaitMax{60000};

// Bodies have a table of their own: what changes about an event is written often, and its body never.
constexpr const char* kSchema =
    "CREATE TABLE schema_version (version INTEGER NOT NULL);"
    "INSERT INTO schema_version VALUES (1);"
    "CREATE TABLE events ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " lane TEXT NOT NULL,"
    " bytes INTEGER NOT NULL,"
    " accepted_ms INTEGER NOT NULL,"
    " due_ms INTEGER NOT NULL,"
    " leased INTEGER NOT NULL DEFAULT 0,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " failures INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX events_due ON events (lane, due_ms, seq);"
    "CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);"
    "CREATE TABLE dead ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL,"
    " lane TEXT NOT NULL,"
    " body BLOB NOT NULL,"
    " reason TEXT NOT NULL,"
    " accepted_ms INTEGER NOT NULL,"
    " died_ms INTEGER NOT NULL);";

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Threads: mutex_ guards the connection and everything else; it is held across writes, which is what the lock is for:
// SQLite has one writer.
class EventStore final : public ports::EventQueue {
 public:
  EventStore(SqliteDatabase database, EventStoreLimits limits) : database_(std::move(database)), limits_(limits) {}

  Status open() {
    ASSIGN_OR_RETURN(auto has_schema, database_.prepare("SELECT count(*) FROM sqlite_master WHERE name = "
                                                        "'schema_version'"));
    ASSIGN_OR_RETURN(const bool row, has_schema.step());
    const bool fresh = !row || has_schema.number(0) == 0;
    has_schema.reset();
    if (fresh) {
      ASSIGN_OR_RETURN(auto transaction, SqliteTransaction::begin(database_, Durability::full));
      RETURN_IF_ERROR(database_.execute(kSchema));
      RETURN_IF_ERROR(transaction.commit());
    }
    ASSIGN_OR_RETURN(const std::int64_t version, one_number("SELECT version FROM schema_version"));
    if (version != kSchemaVersion) {
      return Error{ErrorKind::corrupt, "events.db has version " + std::to_string(version) + "; this is for version " +
                                           std::to_string(kSchemaVersion)};
    }
    RETURN_IF_ERROR(prepare());
    return load();
  }

  Status put(std::span<const NewEvent> events) override {
    RETURN_IF_ERROR(ports::check_events(events));
    std::uint64_t bytes = 0;
    for (const NewEvent& event : events) bytes += event.body.size();
    const std::lock_guard lock(mutex_);
    if (events_ + events.size() > limits_.events_max || bytes_ + bytes > limits_.bytes_max) {
      return Error{ErrorKind::overloaded, "the queue of events is full: " + std::to_string(limits_.events_max) +
                                              " events and " + std::to_string(limits_.bytes_max >> 20) +
                                              " MB are the most; retry later"};
    }
    ASSIGN_OR_RETURN(auto transaction, SqliteTransaction::begin(database_, Durability::full));
    const Totals before{events_, bytes_, dead_, dead_bytes_};
    Status done = insert(events);
    if (done.ok()) done = transaction.commit();
    if (!done.ok()) {
      std::tie(events_, bytes_, dead_, dead_bytes_) = before;
      return done;
    }
    changed_ = true;
    changed_or_woken_.notify_all();
    return {};
  }

  Result<std::vector<TakenEvent>> take(const Take& take) override {
    const auto until = std::chrono::steady_clock::now() + take.wait_max;
    std::unique_lock lock(mutex_);
    while (true) {
      changed_ = false;
      std::int64_t next_due = std::numeric_limits<std::int64_t>::max();
      ASSIGN_OR_RETURN(std::vector<TakenEvent> taken, take_due(take, next_due));
      const auto now = std::chrono::steady_clock::now();
      if (!taken.empty() || woken_ || now >= until) {
        woken_ = false;
        return taken;
      }
      const auto to_due = std::chrono::milliseconds(std::clamp<std::int64_t>(
          next_due == std::numeric_limits<std::int64_t>::max() ? kWaitMax.count() : next_due - now_ms(), 1,
          kWaitMax.count()));
      changed_or_woken_.wait_until(lock, std::min(until, now + to_due), [this] { return changed_ || woken_; });
    }
  }

  void wake() override {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_or_woken_.notify_all();
  }

  Status settle(std::span<const Settlement> settlements) override {
    for (const Settlement& settlement : settlements) RETURN_IF_ERROR(ports::check_events(settlement.next));
    const std::lock_guard lock(mutex_);
    // An event that comes back for the want of this record is done twice, which the port allows.
    ASSIGN_OR_RETURN(auto transaction, SqliteTransaction::begin(database_, Durability::relaxed));
    const Totals before{events_, bytes_, dead_, dead_bytes_};
    Status done;
    for (const Settlement& settlement : settlements) {
      done = settle_one(settlement);
      if (!done.ok()) break;
    }
    if (done.ok()) done = trim_dead();
    if (done.ok()) done = transaction.commit();
    if (!done.ok()) {
      std::tie(events_, bytes_, dead_, dead_bytes_) = before;
      return done;
    }
    for (const Settlement& settlement : settlements) {
      if (settlement.kind != Settlement::Kind::extend) forget(settlement.handle);
    }
    changed_ = true;
    changed_or_woken_.notify_all();
    return {};
  }

  Result<QueueCounts> counts() override {
    const std::lock_guard lock(mutex_);
    return QueueCounts{.events = events_, .bytes = bytes_, .taken = leases_.size(), .dead = dead_};
  }

  Result<std::vector<DeadEvent>> dead(std::size_t count_max) override {
    const std::lock_guard lock(mutex_);
    std::vector<DeadEvent> found;
    select_dead_.bind(1, static_cast<std::int64_t>(count_max));
    while (true) {
      ASSIGN_OR_RETURN(const bool more, select_dead_.step());
      if (!more) return found;
      found.push_back({.id = select_dead_.text(0),
                       .lane = select_dead_.text(1),
                       .body = select_dead_.text(2),
                       .reason = select_dead_.text(3),
                       .accepted_ms = select_dead_.number(4),
                       .died_ms = select_dead_.number(5)});
    }
  }

 private:
  using Totals = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t>;

  Status prepare() {
    const std::pair<SqliteStatement*, std::string_view> statements[] = {
        {&insert_,
         "INSERT INTO events (id, lane, bytes, accepted_ms, due_ms) VALUES (?1, ?2, ?3, ?4, ?5) "
         "ON CONFLICT (id) DO NOTHING"},
        {&insert_body_, "INSERT INTO bodies (seq, body) VALUES (last_insert_rowid(), ?1)"},
        {&next_lane_, "SELECT lane FROM events WHERE lane > ?1 ORDER BY lane LIMIT 1"},
        {&due_, "SELECT seq, due_ms FROM events WHERE lane = ?1 ORDER BY due_ms, seq LIMIT ?2"},
        {&lease_, "UPDATE events SET due_ms = ?2, leased = 1 WHERE seq = ?1"},
        {&read_,
         "SELECT id, lane, body, accepted_ms, attempts, failures, leased FROM events JOIN bodies USING (seq) "
         "WHERE seq = ?1"},
        {&erase_, "DELETE FROM events WHERE seq = ?1 RETURNING bytes"},
        {&erase_body_, "DELETE FROM bodies WHERE seq = ?1"},
        {&retry_, "UPDATE events SET due_ms = ?2, leased = 0, attempts = ?3, failures = ?4 WHERE seq = ?1"},
        {&extend_, "UPDATE events SET due_ms = ?2 WHERE seq = ?1"},
        {&bury_,
         "INSERT INTO dead (id, lane, body, reason, accepted_ms, died_ms) "
         "SELECT id, lane, body, ?2, accepted_ms, ?3 FROM events JOIN bodies USING (seq) WHERE seq = ?1"},
        {&oldest_dead_, "DELETE FROM dead WHERE seq = (SELECT min(seq) FROM dead) RETURNING length(body)"},
        {&select_dead_, "SELECT id, lane, body, reason, accepted_ms, died_ms FROM dead ORDER BY seq DESC LIMIT ?1"},
    };
    for (const auto& [statement, sql] : statements) {
      ASSIGN_OR_RETURN(*statement, database_.prepare(sql));
    }
    return {};
  }

  Status load() {
    ASSIGN_OR_RETURN(const std::int64_t events, one_number("SELECT count(*) FROM events"));
    ASSIGN_OR_RETURN(const std::int64_t bytes, one_number("SELECT coalesce(sum(bytes), 0) FROM events"));
    ASSIGN_OR_RETURN(const std::int64_t dead, one_number("SELECT count(*) FROM dead"));
    ASSIGN_OR_RETURN(const std::int64_t dead_bytes, one_number("SELECT coalesce(sum(length(body)), 0) FROM dead"));
    events_ = static_cast<std::uint64_t>(events);
    bytes_ = static_cast<std::uint64_t>(bytes);
    dead_ = static_cast<std::uint64_t>(dead);
    dead_bytes_ = static_cast<std::uint64_t>(dead_bytes);
    // Nobody else has the file: whoever had leases is gone. The mark stays, and tells take() that this is once more.
    ASSIGN_OR_RETURN(auto release, database_.prepare("UPDATE events SET due_ms = ?1 WHERE leased = 1"));
    return release.bind(1, now_ms()).run();
  }

  Result<std::int64_t> one_number(std::string_view sql) {
    ASSIGN_OR_RETURN(auto statement, database_.prepare(sql));
    ASSIGN_OR_RETURN(const bool row, statement.step());
    return row ? statement.number(0) : 0;
  }

  Result<std::vector<std::string>> lanes() {
    std::vector<std::string> found;
    for (std::string after;;) {
      ASSIGN_OR_RETURN(const bool more, next_lane_.bind(1, after).step());
      if (!more) return found;
      after = next_lane_.text(0);
      next_lane_.reset();
      found.push_back(after);
    }
  }

  // Each lane gets its turn before one gets a second event; who comes first moves on from call to call.
  Result<std::vector<TakenEvent>> take_due(const Take& take, std::int64_t& next_due) {
    std::vector<TakenEvent> taken;
    ASSIGN_OR_RETURN(std::vector<std::string> names, lanes());
    if (names.empty() || take.count_max == 0) return taken;
    const auto first = std::upper_bound(names.begin(), names.end(), last_lane_);
    std::rotate(names.begin(), first == names.end() ? names.begin() : first, names.end());
    std::vector<std::vector<std::int64_t>> due(names.size());
    const std::int64_t now = now_ms();
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::size_t room = std::min(take.room ? take.room(names[i]) : take.count_max, take.count_max);
      if (room == 0) continue;
      ASSIGN_OR_RETURN(due[i], due_of(names[i], room, now, next_due));
    }
    std::vector<std::int64_t> chosen;
    for (std::size_t turn = 0; chosen.size() < take.count_max; ++turn) {
      const std::size_t before = chosen.size();
      for (std::size_t i = 0; i < names.size() && chosen.size() < take.count_max; ++i) {
        if (turn >= due[i].size()) continue;
        chosen.push_back(due[i][turn]);
        last_lane_ = names[i];
      }
      if (chosen.size() == before) break;
    }
    if (chosen.empty()) return taken;
    ASSIGN_OR_RETURN(auto transaction, SqliteTransaction::begin(database_, Durability::relaxed));
    for (const std::int64_t seq : chosen) {
      ASSIGN_OR_RETURN(TakenEvent event, lease_one(seq, now + take.lease.count()));
      taken.push_back(std::move(event));
    }
    RETURN_IF_ERROR(transaction.commit());
    for (std::size_t i = 0; i < taken.size(); ++i) {
      // A lease that ran out ends here for good.
      if (const auto old = handles_.find(chosen[i]); old != handles_.end()) leases_.erase(old->second);
      taken[i].handle = ++last_handle_;
      leases_[taken[i].handle] = chosen[i];
      handles_[chosen[i]] = taken[i].handle;
    }
    return taken;
  }

  Result<std::vector<std::int64_t>> due_of(const std::string& lane, std::size_t count_max, std::int64_t now,
                                           std::int64_t& next_due) {
    std::vector<std::int64_t> found;
    due_.bind(1, lane).bind(2, static_cast<std::int64_t>(count_max));
    while (true) {
      ASSIGN_OR_RETURN(const bool more, due_.step());
      if (!more) return found;
      if (due_.number(1) > now) {
        next_due = std::min(next_due, due_.number(1));
        due_.reset();
        return found;
      }
      found.push_back(due_.number(0));
    }
  }

  Result<TakenEvent> lease_one(std::int64_t seq, std::int64_t until_ms) {
    ASSIGN_OR_RETURN(const bool found, read_.bind(1, seq).step());
    if (!found) return Error{ErrorKind::corrupt, "events.db: an event has no body"};
    TakenEvent event{.id = read_.text(0),
                     .lane = read_.text(1),
                     .body = read_.text(2),
                     .accepted_ms = read_.number(3),
                     .attempts = static_cast<std::uint32_t>(read_.number(4)),
                     .failures = static_cast<std::uint32_t>(read_.number(5)),
                     .again = read_.number(6) != 0};
    read_.reset();
    RETURN_IF_ERROR(lease_.bind(1, seq).bind(2, until_ms).run());
    return event;
  }

  Status insert(std::span<const NewEvent> events) {
    for (const NewEvent& event : events) {
      RETURN_IF_ERROR(insert_.bind(1, event.id)
                          .bind(2, event.lane)
                          .bind(3, static_cast<std::int64_t>(event.body.size()))
                          .bind(4, event.accepted_ms)
                          .bind(5, event.due_ms)
                          .run());
      if (database_.changes() == 0) continue;  // it is there already
      RETURN_IF_ERROR(insert_body_.bind_blob(1, event.body).run());
      ++events_;
      bytes_ += event.body.size();
    }
    return {};
  }

  Status settle_one(const Settlement& settlement) {
    const auto lease = leases_.find(settlement.handle);
    if (lease == leases_.end()) return {};
    const std::int64_t seq = lease->second;
    switch (settlement.kind) {
      case Settlement::Kind::extend:
        return extend_.bind(1, seq).bind(2, settlement.due_ms).run();
      case Settlement::Kind::retry:
        return retry_.bind(1, seq)
            .bind(2, settlement.due_ms)
            .bind(3, static_cast<std::int64_t>(settlement.attempts))
            .bind(4, static_cast<std::int64_t>(settlement.failures))
            .run();
      case Settlement::Kind::bury: {
        const std::string_view reason = std::string_view(settlement.reason).substr(0, ports::kEventReasonBytesMax);
        RETURN_IF_ERROR(bury_.bind(1, seq).bind(2, reason).bind(3, now_ms()).run());
        const std::uint64_t before = bytes_;
        RETURN_IF_ERROR(erase(seq));
        ++dead_;
        dead_bytes_ += before - bytes_;
        return {};
      }
      case Settlement::Kind::done:
        break;
    }
    RETURN_IF_ERROR(erase(seq));
    return insert(settlement.next);
  }

  void forget(std::uint64_t handle) {
    const auto lease = leases_.find(handle);
    if (lease == leases_.end()) return;
    handles_.erase(lease->second);
    leases_.erase(lease);
  }

  Status erase(std::int64_t seq) {
    ASSIGN_OR_RETURN(const bool found, erase_.bind(1, seq).step());
    if (!found) return {};
    bytes_ -= static_cast<std::uint64_t>(erase_.number(0));
    --events_;
    RETURN_IF_ERROR(erase_.run());
    return erase_body_.bind(1, seq).run();
  }

  Status trim_dead() {
    while (dead_ > limits_.dead_max || dead_bytes_ > limits_.dead_bytes_max) {
      ASSIGN_OR_RETURN(const bool found, oldest_dead_.step());
      if (!found) return {};
      dead_bytes_ -= static_cast<std::uint64_t>(oldest_dead_.number(0));
      --dead_;
      RETURN_IF_ERROR(oldest_dead_.run());
    }
    return {};
  }

  std::mutex mutex_;
  std::condition_variable changed_or_woken_;
  // Guarded by mutex_, all that follows.
  bool changed_ = false;
  bool woken_ = false;
  SqliteDatabase database_;
  const EventStoreLimits limits_;
  SqliteStatement insert_, insert_body_, next_lane_, due_, lease_, read_, erase_, erase_body_, retry_, extend_, bury_,
      oldest_dead_, select_dead_;
  std::string last_lane_;
  std::unordered_map<std::uint64_t, std::int64_t> leases_;   // handle to row
  std::unordered_map<std::int64_t, std::uint64_t> handles_;  // row to handle
  std::uint64_t last_handle_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t dead_ = 0;
  std::uint64_t dead_bytes_ = 0;
};

}  // namespace

Result<std::unique_ptr<ports::EventQueue>> open_event_store(const std::string& path, EventStoreLimits limits) {
  ASSIGN_OR_RETURN(SqliteDatabase database, SqliteDatabase::open(path));
  auto store = std::make_unique<EventStore>(std::move(database), limits);
  RETURN_IF_ERROR(store->open());
  return std::unique_ptr<ports::EventQueue>(std::move(store));
}

}  // namespace thaw::adapters
