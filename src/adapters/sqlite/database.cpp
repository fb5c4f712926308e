#include "adapters/sqlite/database.h"

#include <fcntl.h>

#include <filesystem>

#include "base/sys.h"

namespace thaw::adapters {
namespace {

constexpr int kBusyMs = 10000;
// What the write-ahead log may keep of the disk once it has been written back.
constexpr const char* kPragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=16777216";

Error error_of(sqlite3* database) {
  const int code = ::sqlite3_errcode(database);
  const char* path = ::sqlite3_db_filename(database, "main");
  const std::string name = path == nullptr ? "the database" : std::filesystem::path(path).filename().string();
  const std::string message = name + ": " + ::sqlite3_errmsg(database);
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorKind::corrupt, message};
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_BUSY:
    case SQLITE_NOMEM:
      return {ErrorKind::unavailable, message};
    default:
      return internal_error(message);
  }
}

}  // namespace

std::string sqlite_identifier(std::string_view name) {
  std::string text = "\"";
  for (const char byte : name) text.append(byte == '"' ? 2 : 1, byte);
  return text + '"';
}

SqliteStatement& SqliteStatement::bind(int at, std::int64_t value) {
  ::sqlite3_bind_int64(statement_.get(), at, value);
  return *this;
}

SqliteStatement& SqliteStatement::bind(int at, std::string_view text) {
  ::sqlite3_bind_text64(statement_.get(), at, text.data() == nullptr ? "" : text.data(), text.size(), SQLITE_STATIC,
                        SQLITE_UTF8);
  return *this;
}

SqliteStatement& SqliteStatement::bind_blob(int at, std::string_view bytes) {
  ::sqlite3_bind_blob64(statement_.get(), at, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(), SQLITE_STATIC);
  return *this;
}

Result<bool> SqliteStatement::step() {
  const int code = ::sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) {
    reset();
    return false;
  }
  Error error = error_of(database_);
  reset();
  return error;
}

Status SqliteStatement::run() {
  while (true) {
    ASSIGN_OR_RETURN(const bool more, step());
    if (!more) return {};
  }
}

void SqliteStatement::reset() {
  ::sqlite3_reset(statement_.get());
  ::sqlite3_clear_bindings(statement_.get());
}

std::int64_t SqliteStatement::number(int column) const { return ::sqlite3_column_int64(statement_.get(), column); }

std::string SqliteStatement::text(int column) const {
  // The pointer first: SQLite may convert the value, and count its bytes anew.
  const void* bytes = ::sqlite3_column_blob(statement_.get(), column);
  const int count = ::sqlite3_column_bytes(statement_.get(), column);
  if (bytes == nullptr || count <= 0) return {};
  return {static_cast<const char*>(bytes), static_cast<std::size_t>(count)};
}

Result<SqliteDatabase> SqliteDatabase::open(const std::string& path, unsigned page_bytes) {
  // Made before SQLite does, for the owner only; the files beside it follow its mode.
  RETURN_IF_ERROR(sys::open(path, O_RDWR | O_CREAT, 0600));
  sqlite3* opened = nullptr;
  const int code = ::sqlite3_open_v2(path.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  SqliteDatabase database(opened);
  if (code != SQLITE_OK) return opened == nullptr ? internal_error("no memory for SQLite") : error_of(opened);
  ::sqlite3_busy_timeout(opened, kBusyMs);
  RETURN_IF_ERROR(database.execute(("PRAGMA page_size=" + std::to_string(page_bytes)).c_str()));
  RETURN_IF_ERROR(database.execute(kPragmas));
  return database;
}

Result<SqliteStatement> SqliteDatabase::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (::sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                           &statement, nullptr) != SQLITE_OK)
    return error_of(database_.get());
  return SqliteStatement(database_.get(), statement);
}

Status SqliteDatabase::execute(const char* sql) {
  if (::sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error_of(database_.get());
  return {};
}

Result<SqliteTransaction> SqliteTransaction::begin(SqliteDatabase& database, Durability durability) {
  // It takes effect between transactions alone, so each one says it.
  RETURN_IF_ERROR(
      database.execute(durability == Durability::full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL"));
  RETURN_IF_ERROR(database.execute("BEGIN IMMEDIATE"));
  return SqliteTransaction(database);
}

SqliteTransaction::~SqliteTransaction() {
  if (database_ != nullptr) (void)database_->execute("ROLLBACK").ok();
}

Status SqliteTransaction::commit() {
  RETURN_IF_ERROR(database_->execute("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace thaw::adapters
