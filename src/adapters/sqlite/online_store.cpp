#include "adapters/sqlite/online_store.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "adapters/online/bounds.h"
#include "adapters/sqlite/database.h"

namespace thaw::adapters {
namespace {

using ports::OnlineKey;
using ports::OnlineRow;
using Durability = SqliteTransaction::Durability;
using Rows = std::vector<std::optional<OnlineRow>>;

constexpr std::int64_t kSchemaVersion = 1;
// Rows that have expired go while others are written, this many at a time and no more often than this.
constexpr std::int64_t kSweepRowsMax = 1000;
constexpr std::int64_t kSweepEveryMs = 10'000;
// One transaction's part of a table that is dropped.
constexpr std::int64_t kDropRowsMax = 10'000;

// A row of 250 features is some 5 kB: larger pages hold it without a chain of overflow pages.
constexpr unsigned kPageBytes = 8192;
constexpr const char* kSchema =
    "CREATE TABLE schema_version (version INTEGER NOT NULL);"
    "INSERT INTO schema_version VALUES (1);"
    "CREATE TABLE views (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE rows ("
    " id INTEGER PRIMARY KEY,"
    " view INTEGER NOT NULL,"
    " key BLOB NOT NULL,"
    " event_ms INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL,"
    " expires_ms INTEGER NOT NULL,"
    " value BLOB NOT NULL,"
    " UNIQUE (view, key));"
    "CREATE INDEX rows_expire ON rows (expires_ms) WHERE expires_ms > 0;";

// A row that has expired is as good as none.
constexpr std::string_view kWrite =
    "INSERT INTO rows (view, key, event_ms, created_ms, expires_ms, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
    " ON CONFLICT (view, key) DO UPDATE SET event_ms = excluded.event_ms, created_ms = excluded.created_ms,"
    " expires_ms = excluded.expires_ms, value = excluded.value"
    " WHERE excluded.event_ms > rows.event_ms"
    " OR (excluded.event_ms = rows.event_ms AND excluded.created_ms >= rows.created_ms)"
    " OR (rows.expires_ms > 0 AND rows.expires_ms <= ?7)";

// A connection that reads, with its statements. Threads: whoever holds its mutex.
struct Reader {
  std::mutex mutex;
  std::optional<SqliteDatabase> database;
  SqliteStatement begin, end, read, scan;
};

// Threads: readers_ each have a mutex, and so has the writer; views_mutex_ guards the views' numbers and is taken last.
// They are held across SQLite's I/O, which is what they are for: a connection serves one thread at a time.
class OnlineStore final : public ports::OnlineStore {
 public:
  OnlineStore(SqliteDatabase writer, std::size_t readers) : writer_(std::move(writer)), readers_(readers) {}

  Status open(const std::string& path, const EmbeddedOnlineStoreOptions& options) {
    RETURN_IF_ERROR(make_schema());
    RETURN_IF_ERROR(prepare());
    RETURN_IF_ERROR(load_views());
    const std::string reading =
        "PRAGMA mmap_size=" + std::to_string(options.mapped_max) + "; PRAGMA query_only=1; PRAGMA cell_size_check=1";
    for (Reader& reader : readers_) {
      ASSIGN_OR_RETURN(reader.database, SqliteDatabase::open(path));
      RETURN_IF_ERROR(reader.database->execute(reading.c_str()));
      ASSIGN_OR_RETURN(reader.begin, reader.database->prepare("BEGIN"));
      ASSIGN_OR_RETURN(reader.end, reader.database->prepare("COMMIT"));
      ASSIGN_OR_RETURN(reader.read, reader.database->prepare("SELECT value, event_ms, created_ms, expires_ms FROM rows"
                                                             " WHERE view = ?1 AND key = ?2"));
      ASSIGN_OR_RETURN(reader.scan, reader.database->prepare(
                                        "SELECT key, value, event_ms, created_ms, expires_ms FROM rows WHERE view = ?1"
                                        " AND key > ?2 AND (expires_ms = 0 OR expires_ms > ?3) ORDER BY key LIMIT ?4"));
    }
    return {};
  }

  // What waits while others are written goes into the next transaction together: the disk is waited for once.
  Status write(std::string_view table, std::span<const OnlineRow> rows) override {
    RETURN_IF_ERROR(check_online_rows(table, rows));
    if (rows.empty()) return {};
    Write mine{.table = table, .rows = rows};
    std::unique_lock lock(waiting_mutex_);
    waiting_.push_back(&mine);
    while (!mine.done) {
      if (writing_) {
        written_.wait(lock);
        continue;
      }
      writing_ = true;
      const std::vector<Write*> together = take_waiting();
      lock.unlock();
      const Status result = write_together(together);
      lock.lock();
      writing_ = false;
      for (Write* const one : together) {
        one->result = result;
        one->done = true;
      }
      written_.notify_all();
    }
    return mine.result;
  }

  Result<Rows> read(std::span<const OnlineKey> keys) override {
    RETURN_IF_ERROR(check_online_keys(keys));
    Rows rows(keys.size());
    if (keys.empty()) return rows;
    const std::int64_t now = online_now_ms();
    Reader& reader = a_reader();
    const std::lock_guard lock(reader.mutex, std::adopt_lock);
    // One transaction: one look at the file's state, and one state for all keys.
    if (keys.size() > 1) RETURN_IF_ERROR(reader.begin.run());
    Status done;
    for (std::size_t i = 0; i < keys.size() && done.ok(); ++i) {
      const std::optional<std::int64_t> view = number_of(keys[i].table);
      if (view) done = read_one(reader.read, *view, keys[i].key, now, rows[i]);
    }
    if (keys.size() > 1) {
      const Status ended = reader.end.run();
      if (done.ok()) done = ended;
    }
    RETURN_IF_ERROR(done);
    return rows;
  }

  Result<std::vector<OnlineRow>> scan(std::string_view table, std::string_view after, std::size_t count_max) override {
    std::vector<OnlineRow> rows;
    const std::optional<std::int64_t> view = number_of(table);
    if (!view || count_max == 0) return rows;
    Reader& reader = a_reader();
    const std::lock_guard lock(reader.mutex, std::adopt_lock);
    const std::size_t bounded = std::min<std::size_t>(count_max, std::numeric_limits<std::int64_t>::max());
    reader.scan.bind(1, *view).bind_blob(2, after).bind(3, online_now_ms()).bind(4, static_cast<std::int64_t>(bounded));
    while (true) {
      ASSIGN_OR_RETURN(const bool more, reader.scan.step());
      if (!more) return rows;
      rows.push_back({.key = reader.scan.text(0),
                      .value = reader.scan.text(1),
                      .event_ms = reader.scan.number(2),
                      .created_ms = reader.scan.number(3),
                      .expires_ms = reader.scan.number(4)});
    }
  }

  Status remove(std::string_view table, std::span<const std::string> keys) override {
    RETURN_IF_ERROR(check_online_removal(table, keys));
    const std::optional<std::int64_t> view = number_of(table);
    if (!view || keys.empty()) return {};
    const std::lock_guard lock(writer_mutex_);
    ASSIGN_OR_RETURN(auto transaction, SqliteTransaction::begin(writer_, Durability::full));
    for (const std::string& key : keys) RETURN_IF_ERROR(remove_.bind(1, *view).bind_blob(2, key).run());
    return transaction.commit();
  }

  Status drop(std::string_view table) override {
    const std::optional<std::int64_t> view = number_of(table);
    if (!view) return {};
    const std::lock_guard lock(writer_mutex_);
    {
      // Its number is not used again: from here on nobody finds a row of it.
      ASSIGN_OR_RETURN(auto transaction, SqliteTransaction::begin(writer_, Durability::full));
      RETURN_IF_ERROR(forget_view_.bind(1, *view).run());
      RETURN_IF_ERROR(transaction.commit());
      const std::unique_lock views(views_mutex_);
      views_.erase(std::string(table));
    }
    return remove_lost_rows();
  }

  std::string name() const override { return "embedded"; }

 private:
  // A write that waits for its transaction; on its thread's stack until it is done.
  struct Write {
    std::string_view table;
    std::span<const OnlineRow> rows;
    Status result{};
    bool done = false;
  };

  // With waiting_mutex_. The oldest, as many as make one write's worth of rows; one at least.
  std::vector<Write*> take_waiting() {
    std::vector<Write*> together;
    for (std::size_t rows = 0; !waiting_.empty(); waiting_.pop_front()) {
      rows += waiting_.front()->rows.size();
      if (!together.empty() && rows > ports::kOnlineKeysMax) break;
      together.push_back(waiting_.front());
    }
    return together;
  }

  Status write_together(std::span<Write* const> writes) {
    const std::lock_guard lock(writer_mutex_);
    const std::int64_t now = online_now_ms();
    ASSIGN_OR_RETURN(auto transaction, SqliteTransaction::begin(writer_, Durability::full));
    std::vector<std::int64_t> views;
    for (const Write* const one : writes) {
      ASSIGN_OR_RETURN(const std::int64_t view, number_for(one->table));
      views.push_back(view);
      RETURN_IF_ERROR(write_rows(view, one->rows, now));
    }
    if (now - swept_ms_ >= kSweepEveryMs || now < swept_ms_) {
      RETURN_IF_ERROR(sweep_.bind(1, now).bind(2, kSweepRowsMax).run());
      swept_ms_ = now;
    }
    RETURN_IF_ERROR(transaction.commit());
    for (std::size_t i = 0; i < writes.size(); ++i) remember(writes[i]->table, views[i]);
    return {};
  }

  Status write_rows(std::int64_t view, std::span<const OnlineRow> rows, std::int64_t now) {
    for (const OnlineRow& row : rows) {
      RETURN_IF_ERROR(write_.bind(1, view)
                          .bind_blob(2, row.key)
                          .bind(3, row.event_ms)
                          .bind(4, row.created_ms)
                          .bind(5, row.expires_ms)
                          .bind_blob(6, row.value)
                          .bind(7, now)
                          .run());
    }
    return {};
  }

  Status make_schema() {
    ASSIGN_OR_RETURN(const std::int64_t tables,
                     one_number("SELECT count(*) FROM sqlite_master WHERE name = 'schema_version'"));
    if (tables == 0) {
      ASSIGN_OR_RETURN(auto transaction, SqliteTransaction::begin(writer_, Durability::full));
      RETURN_IF_ERROR(writer_.execute(kSchema));
      RETURN_IF_ERROR(transaction.commit());
    }
    ASSIGN_OR_RETURN(const std::int64_t version, one_number("SELECT version FROM schema_version"));
    if (version == kSchemaVersion) return {};
    return Error{ErrorKind::corrupt, "online.db has version " + std::to_string(version) + "; this is for version " +
                                         std::to_string(kSchemaVersion)};
  }

  Status prepare() {
    ASSIGN_OR_RETURN(write_, writer_.prepare(kWrite));
    ASSIGN_OR_RETURN(sweep_, writer_.prepare("DELETE FROM rows WHERE id IN (SELECT id FROM rows WHERE expires_ms > 0"
                                             " AND expires_ms <= ?1 LIMIT ?2)"));
    ASSIGN_OR_RETURN(remove_, writer_.prepare("DELETE FROM rows WHERE view = ?1 AND key = ?2"));
    ASSIGN_OR_RETURN(find_view_, writer_.prepare("SELECT id FROM views WHERE name = ?1"));
    ASSIGN_OR_RETURN(add_view_, writer_.prepare("INSERT INTO views (name) VALUES (?1)"));
    ASSIGN_OR_RETURN(forget_view_, writer_.prepare("DELETE FROM views WHERE id = ?1"));
    ASSIGN_OR_RETURN(remove_lost_, writer_.prepare("DELETE FROM rows WHERE id IN (SELECT id FROM rows WHERE view NOT IN"
                                                   " (SELECT id FROM views) LIMIT ?1)"));
    return {};
  }

  Status load_views() {
    ASSIGN_OR_RETURN(auto all, writer_.prepare("SELECT name, id FROM views"));
    while (true) {
      ASSIGN_OR_RETURN(const bool more, all.step());
      if (!more) break;
      views_[all.text(0)] = all.number(1);
    }
    // What a process left that ended in the middle of a drop().
    return remove_lost_rows();
  }

  Result<std::int64_t> one_number(std::string_view sql) {
    ASSIGN_OR_RETURN(auto statement, writer_.prepare(sql));
    ASSIGN_OR_RETURN(const bool found, statement.step());
    const std::int64_t number = found ? statement.number(0) : 0;
    statement.reset();
    return number;
  }

  // In transactions of a bounded size, so that the log does not grow with the table.
  Status remove_lost_rows() {
    while (true) {
      ASSIGN_OR_RETURN(auto transaction, SqliteTransaction::begin(writer_, Durability::relaxed));
      RETURN_IF_ERROR(remove_lost_.bind(1, kDropRowsMax).run());
      const std::int64_t removed = writer_.changes();
      RETURN_IF_ERROR(transaction.commit());
      if (removed < kDropRowsMax) return {};
    }
  }

  // Within the writer's transaction.
  Result<std::int64_t> number_for(std::string_view table) {
    if (const auto known = number_of(table)) return *known;
    ASSIGN_OR_RETURN(const bool found, find_view_.bind(1, table).step());
    if (found) {
      const std::int64_t number = find_view_.number(0);
      find_view_.reset();
      return number;
    }
    RETURN_IF_ERROR(add_view_.bind(1, table).run());
    ASSIGN_OR_RETURN(const bool added, find_view_.bind(1, table).step());
    if (!added) return Error{ErrorKind::corrupt, "online.db: a view that was added is not there"};
    const std::int64_t number = find_view_.number(0);
    find_view_.reset();
    return number;
  }

  std::optional<std::int64_t> number_of(std::string_view table) const {
    const std::shared_lock lock(views_mutex_);
    const auto at = views_.find(table);
    return at == views_.end() ? std::nullopt : std::optional(at->second);
  }

  // Once the transaction that may have made it is committed.
  void remember(std::string_view table, std::int64_t view) {
    if (number_of(table)) return;
    const std::unique_lock lock(views_mutex_);
    views_[std::string(table)] = view;
  }

  // One that nobody uses, else the next in turn. Its mutex is held.
  Reader& a_reader() {
    const std::size_t first = next_reader_.fetch_add(1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < readers_.size(); ++i) {
      Reader& reader = readers_[(first + i) % readers_.size()];
      if (reader.mutex.try_lock()) return reader;
    }
    Reader& reader = readers_[first % readers_.size()];
    reader.mutex.lock();
    return reader;
  }

  static Status read_one(SqliteStatement& read, std::int64_t view, std::string_view key, std::int64_t now,
                         std::optional<OnlineRow>& row) {
    ASSIGN_OR_RETURN(const bool found, read.bind(1, view).bind_blob(2, key).step());
    if (!found) return {};
    const std::int64_t expires = read.number(3);
    if (expires == 0 || expires > now) {
      row.emplace();
      row->key = key;
      row->value = read.text(0);
      row->event_ms = read.number(1);
      row->created_ms = read.number(2);
      row->expires_ms = expires;
    }
    read.reset();
    return {};
  }

  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  std::mutex waiting_mutex_;  // alone, or before writer_mutex_ is taken
  std::condition_variable written_;
  std::deque<Write*> waiting_;  // guarded by waiting_mutex_
  bool writing_ = false;        // guarded by waiting_mutex_: somebody has a transaction under way
  std::mutex writer_mutex_;
  // Guarded by writer_mutex_, to swept_ms_.
  SqliteDatabase writer_;
  SqliteStatement write_, sweep_, remove_, find_view_, add_view_, forget_view_, remove_lost_;
  std::int64_t swept_ms_ = 0;
  std::vector<Reader> readers_;
  std::atomic<std::size_t> next_reader_{0};
  mutable std::shared_mutex views_mutex_;
  std::unordered_map<std::string, std::int64_t, TextHash, std::equal_to<>> views_;  // guarded by views_mutex_
};

}  // namespace

Result<std::unique_ptr<ports::OnlineStore>> open_embedded_online_store(const std::string& path,
                                                                       EmbeddedOnlineStoreOptions options) {
  ASSIGN_OR_RETURN(SqliteDatabase writer, SqliteDatabase::open(path, kPageBytes));
  auto store = std::make_unique<OnlineStore>(std::move(writer), std::max<std::size_t>(1, options.readers));
  RETURN_IF_ERROR(store->open(path, options));
  return std::unique_ptr<ports::OnlineStore>(std::move(store));
}

}  // namespace thaw::adapters
