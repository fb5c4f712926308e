#include "adapters/sqlite/table.h"

#include <sqlite3.h>

#include <algorithm>

#include "adapters/sqlite/database.h"
#include "base/iso_time.h"
#include "base/regular_file.h"

namespace thaw::adapters {
namespace {

constexpr int kBusyMs = 10000;
constexpr std::int64_t kDayUs = 86'400'000'000;

struct CloseDatabase {
  void operator()(sqlite3* database) const { ::sqlite3_close_v2(database); }
};
struct Finalize {
  void operator()(sqlite3_stmt* statement) const { ::sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

// A time as text may be up to 14 hours from UTC, so that its date is one off.
std::string date_text(std::int64_t time_us, std::int64_t slack_us) {
  constexpr std::int64_t kFirstUs = -62'135'596'800'000'000;  // the year 1
  constexpr std::int64_t kLastUs = 253'402'300'799'999'999;   // the year 9999
  return format_iso_time_us(std::clamp(time_us, kFirstUs + kDayUs * 3, kLastUs - kDayUs * 3) + slack_us).substr(0, 10);
}

// WHERE, or nothing when no bound is given. Text that is not a date is kept, so that somebody complains of it.
std::string condition(const ports::TimeBounds& bounds) {
  const std::string column = sqlite_identifier(bounds.column);
  std::string numbers;
  std::string texts;
  if (bounds.from_us) {
    numbers += " AND " + column + " >= " + std::to_string(*bounds.from_us) + " / " +
               std::to_string(bounds.number_unit_us) + ".0";
    texts += " AND " + column + " >= '" + date_text(*bounds.from_us, -kDayUs) + "'";
  }
  if (bounds.until_us) {
    numbers += " AND " + column + " < " + std::to_string(*bounds.until_us) + " / " +
               std::to_string(bounds.number_unit_us) + ".0";
    texts += " AND " + column + " < '" + date_text(*bounds.until_us, 2 * kDayUs) + "'";
  }
  if (numbers.empty()) return {};
  return " WHERE CASE typeof(" + column + ") WHEN 'text' THEN " + column +
         " NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' OR (1" + texts + ") WHEN 'integer' THEN 1" + numbers +
         " WHEN 'real' THEN 1" + numbers + " ELSE 1 END";
}

class SqliteTable final : public ports::TableReader {
 public:
  explicit SqliteTable(std::string path) : path_(std::move(path)) {}

  Status start(const SqliteSource& source, const ports::TableRequest& request) {
    // SQLite's own message does not say who may not read the file.
    RETURN_IF_ERROR(open_regular_file(path_));
    sqlite3* opened = nullptr;
    const int code = ::sqlite3_open_v2(path_.c_str(), &opened, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
    database_.reset(opened);
    if (opened == nullptr) return internal_error("no memory for SQLite");
    if (code != SQLITE_OK) return error();
    ::sqlite3_busy_timeout(opened, kBusyMs);
    ::sqlite3_limit(opened, SQLITE_LIMIT_LENGTH, static_cast<int>(ports::kTableCellBytesMax));
    std::string from = sqlite_identifier(source.table);
    if (!source.query.empty()) {
      ASSIGN_OR_RETURN(const std::string query, checked(source.query));
      from = "(" + query + ")";
    }
    ASSIGN_OR_RETURN(const Statement all, prepare("SELECT * FROM " + from, nullptr));
    const std::vector<std::string> names = names_of(all.get());
    for (const std::string& name : request.columns) RETURN_IF_ERROR(check_column(names, name));
    if (request.bounds) RETURN_IF_ERROR(check_column(names, request.bounds->column));
    columns_ = request.columns.empty() ? names : request.columns;
    std::string list;
    for (const std::string& name : columns_) list += (list.empty() ? "" : ", ") + sqlite_identifier(name);
    const std::string where = request.bounds ? condition(*request.bounds) : "";
    ASSIGN_OR_RETURN(statement_, prepare("SELECT " + list + " FROM " + from + where, nullptr));
    return {};
  }

  const std::vector<std::string>& columns() const override { return columns_; }
  std::uint64_t row_number() const override { return row_; }

  Result<bool> next(ports::TableRow& row) override {
    if (statement_ == nullptr) return false;
    const int code = ::sqlite3_step(statement_.get());
    if (code != SQLITE_ROW) {
      statement_.reset();
      if (code == SQLITE_DONE) return false;
      return error();
    }
    ++row_;
    row.resize(columns_.size());
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < row.size(); ++i) bytes += take_cell(static_cast<int>(i), row[i]);
    if (bytes > ports::kTableRowBytesMax)
      return invalid_argument(path_ + ": row " + std::to_string(row_) + " has more than " +
                              std::to_string(ports::kTableRowBytesMax) + " bytes");
    return true;
  }

 private:
  // The bytes of a text.
  std::size_t take_cell(int column, ports::Cell& cell) {
    sqlite3_stmt* const row = statement_.get();
    switch (::sqlite3_column_type(row, column)) {
      case SQLITE_INTEGER:
        cell = std::int64_t{::sqlite3_column_int64(row, column)};
        return 0;
      case SQLITE_FLOAT:
        cell = ::sqlite3_column_double(row, column);
        return 0;
      case SQLITE_NULL:
        cell = std::monostate();
        return 0;
      default: {
        // The pointer first: SQLite may convert the value, and count its bytes anew.
        const void* const bytes = ::sqlite3_column_blob(row, column);
        const auto count = static_cast<std::size_t>(::sqlite3_column_bytes(row, column));
        cell = bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), count);
        return count;
      }
    }
  }

  // The query without what ends it, when it is one statement that answers rows and writes nothing: in brackets it could
  // be more than it is alone.
  Result<std::string> checked(const std::string& query) {
    const char* rest = nullptr;
    ASSIGN_OR_RETURN(const Statement statement, prepare(query, &rest));
    if (statement == nullptr || ::sqlite3_stmt_readonly(statement.get()) == 0 ||
        ::sqlite3_column_count(statement.get()) == 0)
      return invalid_argument(path_ + ": the query must be one SELECT");
    ASSIGN_OR_RETURN(const Statement second, prepare(rest, nullptr));
    if (second != nullptr) return invalid_argument(path_ + ": the query must be one SELECT, and nothing behind it");
    std::string text = query.substr(0, static_cast<std::size_t>(rest - query.c_str()));
    text.erase(text.find_last_not_of(" \t\r\n;") + 1);
    return text + "\n";  // a comment at its end ends there
  }

  Status check_column(const std::vector<std::string>& names, const std::string& name) const {
    if (std::find(names.begin(), names.end(), name) != names.end()) return {};
    std::string listed;
    for (std::size_t i = 0; i < names.size() && i < 20; ++i) listed += (i == 0 ? "" : ", ") + names[i];
    return invalid_argument(path_ + ": there is no column " + name + "; there are " + listed);
  }

  static std::vector<std::string> names_of(sqlite3_stmt* statement) {
    std::vector<std::string> names;
    for (int i = 0; i < ::sqlite3_column_count(statement); ++i) names.emplace_back(::sqlite3_column_name(statement, i));
    return names;
  }

  // rest: what stands behind the first statement. Null when there is no statement.
  Result<Statement> prepare(const std::string& sql, const char** rest) {
    sqlite3_stmt* prepared = nullptr;
    if (::sqlite3_prepare_v2(database_.get(), sql.c_str(), static_cast<int>(sql.size()), &prepared, rest) != SQLITE_OK)
      return error();
    return Statement(prepared);
  }

  Error error() const {
    const std::string message = path_ + ": " + ::sqlite3_errmsg(database_.get());
    switch (::sqlite3_errcode(database_.get()) & 0xff) {
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB:
        return {ErrorKind::corrupt, message};
      case SQLITE_ERROR:
        return invalid_argument(message);
      case SQLITE_TOOBIG:
        return invalid_argument(message + ": row " + std::to_string(row_ + 1) + " has a cell of more than " +
                                std::to_string(ports::kTableCellBytesMax) + " bytes");
      case SQLITE_IOERR:
      case SQLITE_CANTOPEN:
      case SQLITE_BUSY:
      case SQLITE_NOMEM:
      case SQLITE_READONLY:
        return {ErrorKind::unavailable, message};
      default:
        return internal_error(message);
    }
  }

  const std::string path_;
  std::unique_ptr<sqlite3, CloseDatabase> database_;
  Statement statement_;
  std::vector<std::string> columns_;
  std::uint64_t row_ = 0;
};

}  // namespace

Result<std::unique_ptr<ports::TableReader>> open_sqlite_table(const SqliteSource& source,
                                                              const ports::TableRequest& request) {
  auto table = std::make_unique<SqliteTable>(source.path);
  RETURN_IF_ERROR(table->start(source, request));
  return std::unique_ptr<ports::TableReader>(std::move(table));
}

}  // namespace thaw::adapters
