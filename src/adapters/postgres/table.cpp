#include "adapters/postgres/table.h"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "adapters/postgres/identifier.h"
#include "base/iso_time.h"

namespace thaw::adapters {
namespace {

constexpr const char* kSession =
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET bytea_output = 'hex'; "
    "SET default_transaction_read_only = on; SET statement_timeout = ";

// Of pg_type.dat: the numbers of built-in types are fixed.
enum class PgType : Oid {
  boolean = 16,
  bytea = 17,
  int8 = 20,
  int2 = 21,
  int4 = 23,
  oid = 26,
  float4 = 700,
  float8 = 701,
  date = 1082,
  timestamp = 1114,
  timestamptz = 1184,
  numeric = 1700,
};
constexpr std::array<Oid, 14> kArrays = {1000, 1005, 1007, 1016, 1021, 1022, 1009,
                                         1015, 1001, 1115, 1185, 1182, 1231, 1014};

struct Finish {
  void operator()(PGconn* connection) const { ::PQfinish(connection); }
};
struct Clear {
  void operator()(PGresult* result) const { ::PQclear(result); }
};
using Answer = std::unique_ptr<PGresult, Clear>;

bool is_number(PgType type) {
  switch (type) {
    case PgType::int2:
    case PgType::int4:
    case PgType::int8:
    case PgType::oid:
    case PgType::float4:
    case PgType::float8:
    case PgType::numeric:
      return true;
    default:
      return false;
  }
}

constexpr std::int64_t kFirstUs = -62'135'596'800'000'000;  // the year 1
constexpr std::int64_t kLastUs = 253'402'300'799'999'999;   // the year 9999

// A bound as SQL compares it with a column of the type; empty when it cannot.
std::string bound_text(PgType type, std::int64_t time_us, std::int64_t number_unit_us) {
  if (is_number(type)) return std::to_string(time_us) + "::numeric / " + std::to_string(number_unit_us);
  if (type == PgType::date || type == PgType::timestamp || type == PgType::timestamptz)
    return "'" + format_iso_time_us(std::clamp(time_us, kFirstUs, kLastUs)) + "'::timestamptz";
  return {};
}

struct Column {
  std::string name;
  PgType type = PgType::oid;
};

class PostgresTable final : public ports::TableReader {
 public:
  Status start(const PostgresSource& source, const ports::TableRequest& request) {
    RETURN_IF_ERROR(connect(source));
    std::string from = postgres_table_name(source.table);
    if (!source.query.empty()) {
      std::string query = source.query;
      query.erase(query.find_last_not_of(" \t\r\n;") + 1);
      // In brackets, so that what is no query is an error of the server; a comment at its end ends there.
      from = "(" + query + "\n) AS source";
    }
    ASSIGN_OR_RETURN(const std::vector<Column> all, describe("SELECT * FROM " + from));
    std::vector<Column> wanted;
    for (const std::string& name : request.columns) {
      ASSIGN_OR_RETURN(const Column column, find(all, name));
      wanted.push_back(column);
    }
    if (request.columns.empty()) wanted = all;
    std::string list;
    for (const Column& column : wanted) {
      columns_.push_back(column.name);
      types_.push_back(column.type);
      const bool array = std::find(kArrays.begin(), kArrays.end(), static_cast<Oid>(column.type)) != kArrays.end();
      list += (list.empty() ? "" : ", ") +
              (array ? "to_json(" + postgres_identifier(column.name) + ")" : postgres_identifier(column.name));
    }
    ASSIGN_OR_RETURN(const std::string where, condition(all, request));
    const std::string sql = "SELECT " + list + " FROM " + from + where;
    if (::PQsendQueryParams(connection_.get(), sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) == 0)
      return lost();
    if (::PQsetSingleRowMode(connection_.get()) == 0) return internal_error(name_ + ": no single-row mode");
    return {};
  }

  const std::vector<std::string>& columns() const override { return columns_; }
  std::uint64_t row_number() const override { return row_; }

  Result<bool> next(ports::TableRow& row) override {
    while (!ended_) {
      const Answer answer(::PQgetResult(connection_.get()));
      if (answer == nullptr) {
        ended_ = true;
        break;
      }
      const ExecStatusType status = ::PQresultStatus(answer.get());
      if (status == PGRES_TUPLES_OK) continue;  // behind the last row
      if (status != PGRES_SINGLE_TUPLE) {
        ended_ = true;
        return error_of(answer.get());
      }
      ++row_;
      Status taken = take_row(answer.get(), row);
      ended_ = !taken.ok();
      if (ended_) return std::move(taken).error();
      return true;
    }
    return false;
  }

 private:
  Status connect(const PostgresSource& source) {
    // Words of the URL win over those before it; a server that is gone is noticed.
    const std::array<const char*, 9> words = {"connect_timeout",
                                              "application_name",
                                              "tcp_user_timeout",
                                              "keepalives_idle",
                                              "keepalives_interval",
                                              "keepalives_count",
                                              "client_encoding",
                                              "dbname",
                                              nullptr};
    const std::array<const char*, 9> values = {"10",   "thaw", "30000", "30", "10", "3", "UTF8", source.url.c_str(),
                                               nullptr};
    connection_.reset(::PQconnectdbParams(words.data(), values.data(), 1));
    if (connection_ == nullptr) return internal_error("no memory for a connection to PostgreSQL");
    const char* const host = ::PQhost(connection_.get());
    const char* const database = ::PQdb(connection_.get());
    name_ = std::string("postgresql://") + (host == nullptr ? "" : host) + "/" + (database == nullptr ? "" : database);
    if (::PQstatus(connection_.get()) != CONNECTION_OK) return lost();
    const std::string session = kSession + ("'" + std::to_string(source.statement_max.count())) + "h'";
    const Answer answer(::PQexec(connection_.get(), session.c_str()));
    if (::PQresultStatus(answer.get()) != PGRES_COMMAND_OK) return error_of(answer.get());
    return {};
  }

  Result<std::vector<Column>> describe(const std::string& sql) {
    const Answer prepared(::PQprepare(connection_.get(), "", sql.c_str(), 0, nullptr));
    if (::PQresultStatus(prepared.get()) != PGRES_COMMAND_OK) return error_of(prepared.get());
    const Answer described(::PQdescribePrepared(connection_.get(), ""));
    if (::PQresultStatus(described.get()) != PGRES_COMMAND_OK) return error_of(described.get());
    std::vector<Column> columns;
    for (int i = 0; i < ::PQnfields(described.get()); ++i)
      columns.push_back({::PQfname(described.get(), i), static_cast<PgType>(::PQftype(described.get(), i))});
    return columns;
  }

  Result<Column> find(const std::vector<Column>& all, const std::string& name) const {
    std::string listed;
    for (const Column& column : all) {
      if (column.name == name) return column;
      if (listed.size() < 1000) listed += (listed.empty() ? "" : ", ") + column.name;
    }
    return invalid_argument(name_ + ": there is no column " + name + "; there are " + listed);
  }

  Result<std::string> condition(const std::vector<Column>& all, const ports::TableRequest& request) const {
    if (!request.bounds) return std::string();
    const ports::TimeBounds& bounds = *request.bounds;
    ASSIGN_OR_RETURN(const Column column, find(all, bounds.column));
    std::string kept;
    if (bounds.from_us) {
      const std::string bound = bound_text(column.type, *bounds.from_us, bounds.number_unit_us);
      if (!bound.empty()) kept = postgres_identifier(column.name) + " >= " + bound;
    }
    if (bounds.until_us) {
      const std::string bound = bound_text(column.type, *bounds.until_us, bounds.number_unit_us);
      if (!bound.empty()) kept += (kept.empty() ? "" : " AND ") + postgres_identifier(column.name) + " < " + bound;
    }
    if (kept.empty()) return kept;
    return " WHERE " + postgres_identifier(column.name) + " IS NULL OR (" + kept + ")";
  }

  Status take_row(PGresult* answer, ports::TableRow& row) {
    row.resize(columns_.size());
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const int at = static_cast<int>(i);
      if (::PQgetisnull(answer, 0, at) != 0) {
        row[i] = std::monostate();
        continue;
      }
      const auto count = static_cast<std::size_t>(::PQgetlength(answer, 0, at));
      bytes += count;
      if (count > ports::kTableCellBytesMax)
        return invalid_argument(place(i) + " has more than " + std::to_string(ports::kTableCellBytesMax) + " bytes");
      if (bytes > ports::kTableRowBytesMax)
        return invalid_argument(name_ + ": row " + std::to_string(row_) + " has more than " +
                                std::to_string(ports::kTableRowBytesMax) + " bytes");
      RETURN_IF_ERROR(take_cell(i, {::PQgetvalue(answer, 0, at), count}, row[i]));
    }
    return {};
  }

  Status take_cell(std::size_t column, std::string_view text, ports::Cell& cell) {
    const char* const end = text.data() + text.size();
    switch (types_[column]) {
      case PgType::boolean:
        cell = text == "t";
        return {};
      case PgType::int2:
      case PgType::int4:
      case PgType::int8:
      case PgType::oid: {
        std::int64_t number = 0;
        if (std::from_chars(text.data(), end, number).ptr != end)
          return internal_error(place(column) + " is no number");
        cell = number;
        return {};
      }
      case PgType::float4:
      case PgType::float8:
      case PgType::numeric: {
        double number = 0;
        if (std::from_chars(text.data(), end, number).ptr != end)
          return internal_error(place(column) + " is no number");
        cell = number;
        return {};
      }
      case PgType::bytea: {
        std::size_t count = 0;
        unsigned char* const bytes = ::PQunescapeBytea(reinterpret_cast<const unsigned char*>(text.data()), &count);
        if (bytes == nullptr) return internal_error(place(column) + ": no memory");
        cell = std::string(reinterpret_cast<const char*>(bytes), count);
        ::PQfreemem(bytes);
        return {};
      }
      default:
        cell = std::string(text);
        return {};
    }
  }

  std::string place(std::size_t column) const {
    return name_ + ": row " + std::to_string(row_) + ", column " + columns_[column];
  }

  Error error_of(PGresult* answer) const {
    const char* const state = answer == nullptr ? nullptr : ::PQresultErrorField(answer, PG_DIAG_SQLSTATE);
    if (state == nullptr) return lost();
    const char* const primary = ::PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY);
    const std::string message = name_ + ": " + (primary == nullptr ? state : primary);
    const std::string_view kind = std::string_view(state).substr(0, 2);
    // Syntax or access rule, data, no such schema, feature, a transaction that may only read.
    if (kind == "42" || kind == "22" || kind == "3F" || kind == "0A" || kind == "25") return invalid_argument(message);
    if (kind == "XX") return internal_error(message);
    return {ErrorKind::unavailable, message};
  }

  Error lost() const {
    std::string message = ::PQerrorMessage(connection_.get());
    message.erase(message.find_last_not_of(" \r\n") + 1);
    std::replace(message.begin(), message.end(), '\n', ' ');
    return {ErrorKind::unavailable, name_ + ": " + message};
  }

  std::unique_ptr<PGconn, Finish> connection_;
  std::string name_;  // without the password
  std::vector<std::string> columns_;
  std::vector<PgType> types_;
  std::uint64_t row_ = 0;
  bool ended_ = false;
};

}  // namespace

Result<std::unique_ptr<ports::TableReader>> open_postgres_table(const PostgresSource& source,
                                                                const ports::TableRequest& request) {
  auto table = std::make_unique<PostgresTable>();
  RETURN_IF_ERROR(table->start(source, request));
  return std::unique_ptr<ports::TableReader>(std::move(table));
}

}  // namespace thaw::adapters
