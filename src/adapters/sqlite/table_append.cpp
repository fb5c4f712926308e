#include "adapters/sqlite/table_append.h"

#include <sqlite3.h>

#include <memory>

#include "base/regular_file.h"

namespace thaw::adapters {
namespace {

constexpr int kBusyMs = 10000;

struct CloseDatabase {
  void operator()(sqlite3* database) const { ::sqlite3_close_v2(database); }
};
struct Finalize {
  void operator()(sqlite3_stmt* statement) const { ::sqlite3_finalize(statement); }
};

std::string quoted(const std::string& name, char quote) {
  std::string text(1, quote);
  for (const char byte : name) text.append(byte == quote ? 2 : 1, byte);
  return text + quote;
}

Error error_of(sqlite3* database, const std::string& path) {
  const std::string message = path + ": " + ::sqlite3_errmsg(database);
  switch (::sqlite3_errcode(database) & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorKind::corrupt, message};
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
      return invalid_argument(message);
    default:
      return {ErrorKind::unavailable, message};
  }
}

}  // namespace

Status append_sqlite_rows(const std::string& path, const std::string& table, const std::vector<std::string>& columns,
                          const std::string& rows) {
  // SQLite's own message does not say who may not read the file.
  RETURN_IF_ERROR(open_regular_file(path));
  std::string names;
  std::string values;
  for (const std::string& column : columns) {
    if (column.find('"') != std::string::npos)
      return invalid_argument(path + ": rows are not appended to a column with a quote in its name: " + column);
    names += (names.empty() ? "" : ", ") + quoted(column, '"');
    values +=
        (values.empty() ? "" : ", ") + std::string("json_extract(value, ") + quoted("$.\"" + column + "\"", '\'') + ")";
  }
  sqlite3* opened = nullptr;
  const int code = ::sqlite3_open_v2(path.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  const std::unique_ptr<sqlite3, CloseDatabase> database(opened);
  if (opened == nullptr) return internal_error("no memory for SQLite");
  if (code != SQLITE_OK) return error_of(opened, path);
  ::sqlite3_busy_timeout(opened, kBusyMs);
  // One statement is one transaction.
  const std::string sql =
      "INSERT INTO " + quoted(table, '"') + " (" + names + ") SELECT " + values + " FROM json_each(?1)";
  sqlite3_stmt* prepared = nullptr;
  if (::sqlite3_prepare_v2(opened, sql.c_str(), static_cast<int>(sql.size()), &prepared, nullptr) != SQLITE_OK)
    return error_of(opened, path);
  const std::unique_ptr<sqlite3_stmt, Finalize> statement(prepared);
  ::sqlite3_bind_text64(prepared, 1, rows.data(), rows.size(), SQLITE_STATIC, SQLITE_UTF8);
  if (::sqlite3_step(prepared) != SQLITE_DONE) return error_of(opened, path);
  return {};
}

}  // namespace thaw::adapters
