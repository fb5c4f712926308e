#include "adapters/sqlite/row_spool.h"

#include "adapters/sqlite/database.h"
#include "base/sys.h"
#include "base/uuid.h"

namespace thaw::adapters {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr const char* kOneUser =
    "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-16384;";

class SqliteRowSpool final : public ports::RowSpool {
 public:
  SqliteRowSpool(SqliteDatabase database, const RowSpoolOptions& options)
      : database_(std::move(database)), bytes_max_(options.bytes_max), keeps_(options.keeps) {}

  Status start() {
    RETURN_IF_ERROR(database_.execute(kOneUser));
    RETURN_IF_ERROR(
        database_.execute(("PRAGMA max_page_count=" + std::to_string(bytes_max_ / kPageBytes + 1)).c_str()));
    RETURN_IF_ERROR(database_.execute("CREATE TABLE rows (key BLOB, event INTEGER, created INTEGER, value BLOB)"));
    const bool latest = keeps_ == ports::SpoolKeeps::latest;
    RETURN_IF_ERROR(database_.execute(latest ? "CREATE UNIQUE INDEX by_key ON rows (key)"
                                             : "CREATE INDEX by_key ON rows (key, event, created)"));
    // Never committed: there is nothing to come back to.
    RETURN_IF_ERROR(database_.execute("BEGIN"));
    const std::string insert = "INSERT INTO rows VALUES (?1, ?2, ?3, ?4)";
    ASSIGN_OR_RETURN(put_,
                     database_.prepare(latest ? insert + " ON CONFLICT (key) DO UPDATE SET event = ?2, created = ?3, "
                                                         "value = ?4 WHERE (?2, ?3) >= (event, created)"
                                              : insert));
    ASSIGN_OR_RETURN(find_, database_.prepare("SELECT event, created, value FROM rows WHERE key = ?1 AND event "
                                              "BETWEEN ?2 AND ?3 ORDER BY event DESC, created DESC, rowid DESC "
                                              "LIMIT 1"));
    ASSIGN_OR_RETURN(first_, database_.prepare("SELECT key, event, created, value FROM rows ORDER BY key LIMIT ?1"));
    ASSIGN_OR_RETURN(scan_, database_.prepare("SELECT key, event, created, value FROM rows WHERE key > ?2 ORDER BY "
                                              "key LIMIT ?1"));
    return {};
  }

  Status put(const ports::SpoolRow& row) override {
    put_.bind_blob(1, row.key).bind(2, row.event_us).bind(3, row.created_us).bind_blob(4, row.value);
    return said(put_.run());
  }

  Result<std::optional<ports::SpoolRow>> latest(std::string_view key, std::int64_t from_us,
                                                std::int64_t until_us) override {
    find_.bind_blob(1, key).bind(2, from_us).bind(3, until_us);
    ASSIGN_OR_RETURN(const bool found, find_.step());
    if (!found) return std::optional<ports::SpoolRow>();
    ports::SpoolRow row{std::string(key), find_.number(0), find_.number(1), find_.text(2)};
    find_.reset();
    return std::optional<ports::SpoolRow>(std::move(row));
  }

  Result<std::vector<ports::SpoolRow>> scan(const std::optional<std::string>& after, std::size_t count_max,
                                            std::size_t bytes_max) override {
    SqliteStatement& statement = after ? scan_ : first_;
    statement.bind(1, static_cast<std::int64_t>(count_max));
    if (after) statement.bind_blob(2, *after);
    std::vector<ports::SpoolRow> rows;
    std::size_t bytes = 0;
    while (bytes < bytes_max) {
      ASSIGN_OR_RETURN(const bool more, statement.step());
      if (!more) return rows;
      rows.push_back({statement.text(0), statement.number(1), statement.number(2), statement.text(3)});
      bytes += rows.back().key.size() + rows.back().value.size();
    }
    statement.reset();
    return rows;
  }

 private:
  Status said(Status status) const {
    if (status.ok() || status.error().kind != ErrorKind::unavailable) return status;
    return Error{ErrorKind::unavailable, "rows on their way have no room: they may have " + std::to_string(bytes_max_) +
                                             " bytes of the disk, and it must have them (" + status.error().message +
                                             ")"};
  }

  SqliteDatabase database_;  // outlives its statements
  const std::uint64_t bytes_max_;
  const ports::SpoolKeeps keeps_;
  SqliteStatement put_;
  SqliteStatement find_;
  SqliteStatement first_;
  SqliteStatement scan_;
};

}  // namespace

Result<std::unique_ptr<ports::RowSpool>> open_row_spool(const RowSpoolOptions& options) {
  RETURN_IF_ERROR(sys::make_directories(options.folder, 0700));
  const std::string path = options.folder + "/spool-" + random_uuid();
  Result<SqliteDatabase> database = SqliteDatabase::open(path);
  std::unique_ptr<SqliteRowSpool> spool;
  Status started;
  if (database.ok()) {
    spool = std::make_unique<SqliteRowSpool>(std::move(*database), options);
    started = spool->start();
  }
  (void)sys::remove_tree(path).ok();
  if (!database.ok()) return std::move(database).error();
  if (!started.ok()) return std::move(started).error();
  return std::unique_ptr<ports::RowSpool>(std::move(spool));
}

}  // namespace thaw::adapters
