// SQLite's connection and statements as owned values, and its errors as ours.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::adapters {

// One prepared statement. Threads: those of its database, one at a time.
//
//   insert.bind(1, id).bind(2, now);
//   RETURN_IF_ERROR(insert.run());
class SqliteStatement {
 public:
  SqliteStatement() = default;
  SqliteStatement(sqlite3* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}

  SqliteStatement& bind(int at, std::int64_t value);
  // The bytes must live until the statement has run.
  SqliteStatement& bind(int at, std::string_view text);
  SqliteStatement& bind_blob(int at, std::string_view bytes);
  // To the next row: false when there is none; the statement is ready to be bound anew then.
  Result<bool> step();
  // To its end, without rows.
  Status run();
  void reset();
  std::int64_t number(int column) const;
  std::string text(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { ::sqlite3_finalize(statement); }
  };
  sqlite3* database_ = nullptr;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// A name as SQL takes it.
std::string sqlite_identifier(std::string_view name);

// Errors, of all: unavailable (disk full, not writable, locked), corrupt, internal; with the file's name.
class SqliteDatabase {
 public:
  // Made with mode 0600 where it is not there. In WAL mode with synchronous=FULL: what is committed survives a power
  // cut. page_bytes: of a file that is new.
  static Result<SqliteDatabase> open(const std::string& path, unsigned page_bytes = 4096);

  Result<SqliteStatement> prepare(std::string_view sql);
  // One or more statements without values.
  Status execute(const char* sql);
  std::int64_t changes() const { return ::sqlite3_changes64(database_.get()); }

 private:
  struct Close {
    void operator()(sqlite3* database) const { ::sqlite3_close_v2(database); }
  };
  explicit SqliteDatabase(sqlite3* database) : database_(database) {}
  std::unique_ptr<sqlite3, Close> database_;
};

// Rolls back unless it is committed. Commits without waiting for the disk when it is relaxed: what is written so
// survives the end of the process, though not a power cut.
class SqliteTransaction {
 public:
  enum class Durability : std::uint8_t { full, relaxed };
  static Result<SqliteTransaction> begin(SqliteDatabase& database, Durability durability);
  SqliteTransaction(SqliteTransaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  ~SqliteTransaction();
  Status commit();

 private:
  explicit SqliteTransaction(SqliteDatabase& database) : database_(&database) {}
  SqliteDatabase* database_;
};

}  // namespace thaw::adapters
