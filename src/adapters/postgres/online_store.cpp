#include "adapters/postgres/online_store.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "adapters/online/bounds.h"
#include "adapters/online/connection_pool.h"
#include "adapters/postgres/connection.h"
#include "base/log.h"

namespace thaw::adapters {

using ports::OnlineKey;
using ports::OnlineRow;

namespace {

// Of pg_type.dat: the numbers of built-in types are fixed.
constexpr Oid kBytea = 17, kInt8 = 20, kText = 25, kByteas = 1001, kTexts = 1009, kInt8s = 1016;

// What one statement carries.
constexpr std::size_t kStatementBytesMax = 16 << 20;
constexpr std::int64_t kRowsPerPageMax = 1000;
constexpr std::int64_t kRowsPerDropMax = 10'000;
constexpr std::int64_t kSweepRowsMax = 1000;
constexpr std::int64_t kSweepEveryMs = 10'000;

constexpr const char* kIsThere = "SELECT to_regclass('thaw_features_online') IS NOT NULL";
// Of several that find it missing, one makes it: IF NOT EXISTS alone lets two of them collide.
constexpr const char* kMake =
    "SELECT pg_advisory_xact_lock(7523094288203241);"
    "CREATE TABLE IF NOT EXISTS thaw_features_online ("
    " tbl text NOT NULL, key bytea NOT NULL, value bytea NOT NULL,"
    " event_ms bigint NOT NULL, created_ms bigint NOT NULL, expires_ms bigint NOT NULL,"
    " PRIMARY KEY (tbl, key));"
    "CREATE INDEX IF NOT EXISTS thaw_features_online_expire ON thaw_features_online (expires_ms) WHERE expires_ms > 0";

constexpr std::array kReadTypes = {kTexts, kByteas, kInt8};
constexpr PostgresStatement kRead = {"thaw_read",
                                     "SELECT q.n, o.value, o.event_ms, o.created_ms, o.expires_ms"
                                     " FROM unnest($1, $2) WITH ORDINALITY AS q (tbl, key, n)"
                                     " JOIN thaw_features_online AS o ON o.tbl = q.tbl AND o.key = q.key"
                                     " WHERE o.expires_ms <= 0 OR o.expires_ms > $3",
                                     kReadTypes};

// A row that has expired is as good as none.
constexpr std::array kWriteTypes = {kText, kByteas, kByteas, kInt8s, kInt8s, kInt8s, kInt8};
constexpr PostgresStatement kWrite = {
    "thaw_write",
    "INSERT INTO thaw_features_online AS o (tbl, key, value, event_ms, created_ms, expires_ms)"
    " SELECT $1, r.key, r.value, r.event_ms, r.created_ms, r.expires_ms"
    " FROM unnest($2, $3, $4, $5, $6) AS r (key, value, event_ms, created_ms, expires_ms)"
    " ON CONFLICT (tbl, key) DO UPDATE SET value = excluded.value, event_ms = excluded.event_ms,"
    " created_ms = excluded.created_ms, expires_ms = excluded.expires_ms"
    " WHERE (excluded.event_ms, excluded.created_ms) >= (o.event_ms, o.created_ms)"
    " OR (o.expires_ms > 0 AND o.expires_ms <= $7)",
    kWriteTypes};

constexpr std::array kScanTypes = {kText, kBytea, kInt8, kInt8};
constexpr PostgresStatement kScan = {
    "thaw_scan",
    "SELECT key, value, event_ms, created_ms, expires_ms FROM thaw_features_online"
    " WHERE tbl = $1 AND key > $2 AND (expires_ms <= 0 OR expires_ms > $3) ORDER BY key LIMIT $4",
    kScanTypes};

constexpr std::array kRemoveTypes = {kText, kByteas};
constexpr PostgresStatement kRemove = {
    "thaw_remove", "DELETE FROM thaw_features_online WHERE tbl = $1 AND key = ANY ($2)", kRemoveTypes};

constexpr std::array kDropTypes = {kText, kInt8};
constexpr PostgresStatement kDrop = {"thaw_drop",
                                     "DELETE FROM thaw_features_online WHERE tbl = $1 AND key IN"
                                     " (SELECT key FROM thaw_features_online WHERE tbl = $1 ORDER BY key LIMIT $2)",
                                     kDropTypes};

// The outer condition is asked again of a row that was written meanwhile.
constexpr std::array kSweepTypes = {kInt8, kInt8};
constexpr PostgresStatement kSweep = {
    "thaw_sweep",
    "DELETE FROM thaw_features_online WHERE expires_ms > 0 AND expires_ms <= $1 AND (tbl, key) IN"
    " (SELECT tbl, key FROM thaw_features_online WHERE expires_ms > 0 AND expires_ms <= $1 ORDER BY expires_ms LIMIT "
    "$2)",
    kSweepTypes};

class PostgresOnlineStore final : public ports::OnlineStore {
 public:
  PostgresOnlineStore(PostgresStoreSettings settings, std::string name)
      : settings_(std::move(settings)),
        name_(std::move(name)),
        pool_({.name = name_, .connections_max = settings_.connections_max, .wait_max = settings_.command_timeout},
              [this] { return connect(); }) {}

  Status write(std::string_view table, std::span<const OnlineRow> rows) override;
  Result<std::vector<std::optional<OnlineRow>>> read(std::span<const OnlineKey> keys) override;
  Result<std::vector<OnlineRow>> scan(std::string_view table, std::string_view after, std::size_t count_max) override;
  Status remove(std::string_view table, std::span<const std::string> keys) override;
  Status drop(std::string_view table) override;
  std::string name() const override { return name_; }

 private:
  Result<std::unique_ptr<PostgresConnection>> connect() const;
  Result<PostgresResult> run(const PostgresStatement& statement, std::initializer_list<std::string> parameters);
  Status write_some(std::string_view table, std::span<const OnlineRow* const> rows);
  void sweep();

  const PostgresStoreSettings settings_;
  const std::string name_;
  ConnectionPool<PostgresConnection> pool_;
  std::atomic<std::int64_t> sweep_due_ms_ = 0;
};

Result<std::unique_ptr<PostgresConnection>> PostgresOnlineStore::connect() const {
  ASSIGN_OR_RETURN(
      std::unique_ptr<PostgresConnection> made,
      PostgresConnection::open(settings_.url, name_,
                               {.connect = settings_.connect_timeout, .command = settings_.command_timeout}));
  ASSIGN_OR_RETURN(const PostgresResult there, made->execute(kIsThere));
  if (postgres_bytes_at(*there, 0, 0) != "t") {
    ASSIGN_OR_RETURN(const PostgresResult done, made->execute(kMake));
  }
  return made;
}

Result<PostgresResult> PostgresOnlineStore::run(const PostgresStatement& statement,
                                                std::initializer_list<std::string> parameters) {
  return pool_.run([&](PostgresConnection& connection) {
    return connection.run(statement, std::span(parameters.begin(), parameters.size()));
  });
}

Result<std::vector<std::optional<OnlineRow>>> PostgresOnlineStore::read(std::span<const OnlineKey> keys) {
  RETURN_IF_ERROR(check_online_keys(keys));
  std::vector<std::optional<OnlineRow>> rows(keys.size());
  if (keys.empty()) return rows;
  std::vector<std::string_view> tables;
  std::vector<std::string_view> names;
  for (const OnlineKey& key : keys) {
    tables.push_back(key.table);
    names.push_back(key.key);
  }
  ASSIGN_OR_RETURN(const PostgresResult found, run(kRead, {postgres_array(kText, tables), postgres_array(kBytea, names),
                                                           postgres_number(online_now_ms())}));
  for (int i = 0; i < ::PQntuples(found.get()); ++i) {
    const auto at = static_cast<std::size_t>(postgres_number_at(*found, i, 0)) - 1;
    if (at >= keys.size()) return internal_error(name_ + ": a row was answered for a key that was not asked for");
    rows[at] = OnlineRow{.key = std::string(keys[at].key),
                         .value = std::string(postgres_bytes_at(*found, i, 1)),
                         .event_ms = postgres_number_at(*found, i, 2),
                         .created_ms = postgres_number_at(*found, i, 3),
                         .expires_ms = postgres_number_at(*found, i, 4)};
  }
  return rows;
}

// Each key once, the newest of its rows; in the order of the keys, so that two writers of the same rows lock them in
// the same order.
std::vector<const OnlineRow*> newest_of(std::span<const OnlineRow> rows) {
  std::vector<const OnlineRow*> sorted;
  sorted.reserve(rows.size());
  for (const OnlineRow& row : rows) sorted.push_back(&row);
  std::stable_sort(sorted.begin(), sorted.end(), [](const OnlineRow* one, const OnlineRow* other) {
    return std::tie(one->key, one->event_ms, one->created_ms) <
           std::tie(other->key, other->event_ms, other->created_ms);
  });
  std::vector<const OnlineRow*> newest;
  for (const OnlineRow* row : sorted) {
    if (!newest.empty() && newest.back()->key == row->key) newest.pop_back();
    newest.push_back(row);
  }
  return newest;
}

Status PostgresOnlineStore::write(std::string_view table, std::span<const OnlineRow> rows) {
  RETURN_IF_ERROR(check_online_rows(table, rows));
  const std::vector<const OnlineRow*> newest = newest_of(rows);
  std::size_t bytes = 0;
  std::size_t from = 0;
  for (std::size_t i = 0; i < newest.size(); ++i) {
    bytes += newest[i]->key.size() + newest[i]->value.size();
    if (bytes < kStatementBytesMax && i + 1 < newest.size()) continue;
    RETURN_IF_ERROR(write_some(table, std::span(newest).subspan(from, i + 1 - from)));
    from = i + 1;
    bytes = 0;
  }
  sweep();
  return {};
}

Status PostgresOnlineStore::write_some(std::string_view table, std::span<const OnlineRow* const> rows) {
  std::vector<std::string_view> keys;
  std::vector<std::string_view> values;
  std::array<std::vector<std::int64_t>, 3> times;
  for (const OnlineRow* row : rows) {
    keys.push_back(row->key);
    values.push_back(row->value);
    times[0].push_back(row->event_ms);
    times[1].push_back(row->created_ms);
    times[2].push_back(row->expires_ms);
  }
  ASSIGN_OR_RETURN(const PostgresResult done,
                   run(kWrite, {std::string(table), postgres_array(kBytea, keys), postgres_array(kBytea, values),
                                postgres_numbers(times[0]), postgres_numbers(times[1]), postgres_numbers(times[2]),
                                postgres_number(online_now_ms())}));
  return {};
}

// What was written is written: that this fails is only logged.
void PostgresOnlineStore::sweep() {
  const std::int64_t now_ms = online_now_ms();
  std::int64_t due_ms = sweep_due_ms_;
  if (now_ms < due_ms || !sweep_due_ms_.compare_exchange_strong(due_ms, now_ms + kSweepEveryMs)) return;
  const auto done = run(kSweep, {postgres_number(now_ms), postgres_number(kSweepRowsMax)});
  if (!done.ok()) log::warn("online_store_sweep_failed error=\"{}\"", done.error().message);
}

Result<std::vector<OnlineRow>> PostgresOnlineStore::scan(std::string_view table, std::string_view after,
                                                         std::size_t count_max) {
  RETURN_IF_ERROR(check_online_table(table));
  std::vector<OnlineRow> rows;
  std::string last(after);
  while (rows.size() < count_max) {
    const auto page = std::min<std::int64_t>(kRowsPerPageMax, static_cast<std::int64_t>(count_max - rows.size()));
    ASSIGN_OR_RETURN(const PostgresResult found,
                     run(kScan, {std::string(table), last, postgres_number(online_now_ms()), postgres_number(page)}));
    const int count = ::PQntuples(found.get());
    for (int i = 0; i < count; ++i)
      rows.push_back(OnlineRow{.key = std::string(postgres_bytes_at(*found, i, 0)),
                               .value = std::string(postgres_bytes_at(*found, i, 1)),
                               .event_ms = postgres_number_at(*found, i, 2),
                               .created_ms = postgres_number_at(*found, i, 3),
                               .expires_ms = postgres_number_at(*found, i, 4)});
    if (count < page) break;
    last = rows.back().key;
  }
  return rows;
}

Status PostgresOnlineStore::remove(std::string_view table, std::span<const std::string> keys) {
  RETURN_IF_ERROR(check_online_removal(table, keys));
  const std::vector<std::string_view> names(keys.begin(), keys.end());
  ASSIGN_OR_RETURN(const PostgresResult done, run(kRemove, {std::string(table), postgres_array(kBytea, names)}));
  return {};
}

Status PostgresOnlineStore::drop(std::string_view table) {
  RETURN_IF_ERROR(check_online_table(table));
  for (;;) {
    ASSIGN_OR_RETURN(const PostgresResult done, run(kDrop, {std::string(table), postgres_number(kRowsPerDropMax)}));
    if (std::string_view(::PQcmdTuples(done.get())) == "0") return {};
  }
}

}  // namespace

Result<std::unique_ptr<ports::OnlineStore>> open_postgres_online_store(PostgresStoreSettings settings) {
  ASSIGN_OR_RETURN(std::string name, postgres_name(settings.url));
  return std::unique_ptr<ports::OnlineStore>(
      std::make_unique<PostgresOnlineStore>(std::move(settings), std::move(name)));
}

}  // namespace thaw::adapters
