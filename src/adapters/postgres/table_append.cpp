#include "adapters/postgres/table_append.h"

#include <array>

#include "adapters/postgres/connection.h"
#include "adapters/postgres/identifier.h"

namespace thaw::adapters {
namespace {

constexpr Oid kText = 25;  // of pg_type.dat
constexpr std::array<Oid, 1> kTypes = {kText};
constexpr PostgresConnection::Timeouts kTimeouts{.connect = std::chrono::seconds(10),
                                                 .command = std::chrono::seconds(60)};

}  // namespace

Status append_postgres_rows(const std::string& url, const std::string& table, const std::vector<std::string>& columns,
                            const std::string& rows) {
  ASSIGN_OR_RETURN(const std::string name, postgres_name(url));
  ASSIGN_OR_RETURN(const auto connection, PostgresConnection::open(url, name, kTimeouts));
  const std::string into = postgres_table_name(table);
  std::string names;
  for (const std::string& column : columns) names += (names.empty() ? "" : ", ") + postgres_identifier(column);
  const std::string sql = "INSERT INTO " + into + " (" + names + ") SELECT " + names +
                          " FROM json_populate_recordset(NULL::" + into + ", $1::json)";
  const std::array<std::string, 1> parameters = {rows};
  const auto done = connection->run({.name = "append", .sql = sql.c_str(), .types = kTypes}, parameters);
  if (done.ok()) return {};
  // What the server has against the rows is theirs to change, be it a type, a constraint or a missing column.
  if (done.error().kind == ErrorKind::internal) return invalid_argument(done.error().message);
  return done.error();
}

}  // namespace thaw::adapters
