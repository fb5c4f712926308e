#include "adapters/postgres/table.h"

#include <libpq-fe.h>

#include "adapters/postgres/server_for_test.h"
#include "ports/table_reader_contract_test.h"

namespace thaw::adapters {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void run_sql(const std::string& sql) {
  PGconn* const connection = ::PQconnectdb(PostgresForTest::shared()->url().c_str());
  PGresult* const answer = ::PQexec(connection, sql.c_str());
  EXPECT_EQ(::PQresultStatus(answer), PGRES_COMMAND_OK) << ::PQerrorMessage(connection);
  ::PQclear(answer);
  ::PQfinish(connection);
}

std::string literal(const std::optional<std::string>& text) {
  if (!text) return "NULL";
  std::string quoted = "'";
  for (const char byte : *text) quoted.append(byte == '\'' ? 2 : 1, byte);
  return quoted + "'";
}

class PostgresFixture final : public ports::TableFixture {
 public:
  void fill(const std::vector<Ride>& rides) override {
    std::string sql =
        "DROP TABLE IF EXISTS rides; CREATE TABLE rides (id int, name text, at timestamptz, score float8);";
    if (!rides.empty()) sql += "INSERT INTO rides VALUES ";
    for (std::size_t i = 0; i < rides.size(); ++i) {
      sql += (i == 0 ? "(" : ",(") + std::to_string(rides[i].id) + "," + literal(rides[i].name) + "," +
             literal(rides[i].at) + "," + rides[i].score.value_or("NULL") + ")";
    }
    run_sql(sql);
  }
  Result<std::unique_ptr<ports::TableReader>> open(const ports::TableRequest& request) override {
    return open_postgres_table({.url = PostgresForTest::shared()->url(), .table = "rides"}, request);
  }
};

std::unique_ptr<ports::TableFixture> make_postgres_fixture() {
  if (PostgresForTest::shared() == nullptr) return nullptr;
  return std::make_unique<PostgresFixture>();
}

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Postgres, TableReaderContract, testing::Values(&adapters::make_postgres_fixture));
}  // namespace thaw::ports

namespace thaw::adapters {
namespace {

class PostgresTable : public testing::Test {
 protected:
  void SetUp() override {
    if (PostgresForTest::shared() == nullptr) GTEST_SKIP() << "PostgreSQL is not installed";
  }
  static Result<std::unique_ptr<ports::TableReader>> open_query(const std::string& query,
                                                                const ports::TableRequest& request = {}) {
    return open_postgres_table({.url = PostgresForTest::shared()->url(), .query = query}, request);
  }
};

TEST_F(PostgresTable, TypesAreTheServers) {
  const auto reader = open_query(
      "SELECT true AS b, 7::int2 AS i, 1.5::numeric AS n, '\\x00ff'::bytea AS y, ARRAY[1.5, 2] AS l, 'x'::text AS t, "
      "'2026-01-01 12:00'::timestamp AS w, 'NaN'::float4 AS f, NULL::int AS z;");
  ASSERT_TRUE(reader.ok()) << reader.error().message;
  ports::TableRow row;
  const auto more = (*reader)->next(row);
  ASSERT_TRUE(more.ok()) << more.error().message;
  EXPECT_THAT(row, ElementsAre(ports::Cell(true), ports::Cell(std::int64_t{7}), ports::Cell(1.5),
                               ports::Cell(std::string("\0\xff", 2)), ports::Cell("[1.5,2]"), ports::Cell("x"),
                               ports::Cell("2026-01-01 12:00:00"), testing::_, ports::Cell(std::monostate())));
  EXPECT_TRUE(std::isnan(std::get<double>(row[7])));
}

TEST_F(PostgresTable, TheServerLeavesOutWhatIsOutsideOfTheBounds) {
  const ports::TimeBounds bounds{.column = "at", .from_us = 100'000'000, .until_us = 200'000'000};
  for (const char* query :
       {"SELECT s AS at FROM generate_series(0, 1000) s",
        "SELECT timestamp '1970-01-01' + s * interval '1 second' AS at FROM generate_series(0, 1000) s",
        "SELECT to_timestamp(s) AS at FROM generate_series(0, 1000) s"}) {
    const auto reader = open_query(query, {.bounds = bounds});
    ASSERT_TRUE(reader.ok()) << reader.error().message;
    ports::TableRow row;
    while ((*reader)->next(row).value()) {
    }
    EXPECT_EQ((*reader)->row_number(), 100U) << query;
  }
}

TEST_F(PostgresTable, WhatWritesOrFailsIsRefused) {
  run_sql("CREATE TABLE IF NOT EXISTS kept (id int)");
  for (const char* query :
       {"DELETE FROM kept", "WITH gone AS (DELETE FROM kept RETURNING 1) SELECT * FROM gone",
        "SELECT 1) AS a; DROP TABLE kept; SELECT (1", "SELECT * FROM nowhere", "SELECT setval('x', 1)"}) {
    const auto refused = open_query(query);
    ASSERT_FALSE(refused.ok()) << query;
    EXPECT_EQ(refused.error().kind, ErrorKind::invalid_argument) << refused.error().message;
  }
  const auto reader = open_query("SELECT 1 / (3 - s) AS x FROM generate_series(1, 5) s");
  ASSERT_TRUE(reader.ok());
  ports::TableRow row;
  ASSERT_TRUE((*reader)->next(row).ok());
  ASSERT_TRUE((*reader)->next(row).ok());
  const auto failed = (*reader)->next(row);
  ASSERT_FALSE(failed.ok());
  EXPECT_THAT(failed.error().message, HasSubstr("division by zero"));
}

TEST_F(PostgresTable, AServerThatIsNotThereIsNamedWithoutThePassword) {
  const auto refused = open_postgres_table({.url = "postgresql://me:secret@127.0.0.1:1/rides", .table = "t"}, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("127.0.0.1"));
  EXPECT_THAT(refused.error().message, testing::Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace thaw::adapters
