#include "adapters/sqlite/outcome_table.h"

#include "adapters/sqlite/database.h"

namespace thaw::adapters {
namespace {

class SqliteOutcomes final : public ports::OutcomeTable {
 public:
  SqliteOutcomes(SqliteDatabase database, std::string table)
      : database_(std::move(database)), table_(std::move(table)) {}

  Status start() {
    const std::string sql = "CREATE TABLE IF NOT EXISTS " + table_ +
                            " (id TEXT PRIMARY KEY, status INTEGER, output TEXT, error TEXT, duration_ms REAL)";
    RETURN_IF_ERROR(database_.execute(sql.c_str()));
    ASSIGN_OR_RETURN(put_, database_.prepare("INSERT INTO " + table_ +
                                             " (id, status, output, error, duration_ms) VALUES (?1, NULLIF(?2, 0), "
                                             "NULLIF(?3, ''), NULLIF(?4, ''), ?5 / 1000.0) ON CONFLICT (id) DO UPDATE "
                                             "SET status = excluded.status, output = excluded.output, "
                                             "error = excluded.error, duration_ms = excluded.duration_ms"));
    return {};
  }

  Status put(std::span<const ports::OutcomeRow> rows) override {
    ASSIGN_OR_RETURN(SqliteTransaction transaction,
                     SqliteTransaction::begin(database_, SqliteTransaction::Durability::relaxed));
    for (const ports::OutcomeRow& row : rows) {
      put_.bind(1, row.id).bind(2, std::int64_t{row.status}).bind(3, row.output).bind(4, row.error);
      RETURN_IF_ERROR(put_.bind(5, row.duration_us).run());
    }
    return transaction.commit();
  }

  Status clear() override { return database_.execute(("DELETE FROM " + table_).c_str()); }

  // It syncs the log before it copies from it.
  Status flush() override { return database_.execute("PRAGMA wal_checkpoint(PASSIVE)"); }

 private:
  SqliteDatabase database_;
  std::string table_;  // quoted
  SqliteStatement put_;
};

}  // namespace

Result<std::unique_ptr<ports::OutcomeTable>> open_sqlite_outcomes(const std::string& path, const std::string& table) {
  ASSIGN_OR_RETURN(SqliteDatabase database, SqliteDatabase::open(path));
  auto outcomes = std::make_unique<SqliteOutcomes>(std::move(database), sqlite_identifier(table));
  RETURN_IF_ERROR(outcomes->start());
  return std::unique_ptr<ports::OutcomeTable>(std::move(outcomes));
}

}  // namespace thaw::adapters
