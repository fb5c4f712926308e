#include "adapters/postgres/outcome_table.h"

#include <libpq-fe.h>

#include "adapters/postgres/server_for_test.h"
#include "adapters/postgres/table.h"
#include "ports/outcome_table_contract_test.h"

namespace thaw::adapters {
namespace {

class PostgresOutcomeFixture final : public ports::OutcomeFixture {
 public:
  PostgresOutcomeFixture() {
    PGconn* const connection = ::PQconnectdb(PostgresForTest::shared()->url().c_str());
    ::PQclear(::PQexec(connection, "DROP TABLE IF EXISTS outcomes"));
    ::PQfinish(connection);
  }
  Result<std::unique_ptr<ports::OutcomeTable>> open() override {
    return open_postgres_outcomes(PostgresForTest::shared()->url(), "public.outcomes");
  }
  Result<std::unique_ptr<ports::TableReader>> read(const std::string& query) override {
    return open_postgres_table({.url = PostgresForTest::shared()->url(), .table = {}, .query = query}, {});
  }
};

std::unique_ptr<ports::OutcomeFixture> make_postgres_outcomes() {
  if (PostgresForTest::shared() == nullptr) return nullptr;
  return std::make_unique<PostgresOutcomeFixture>();
}

TEST(PostgresOutcomes, AServerThatComesBackIsConnectedAnew) {
  PostgresForTest server;
  if (!server.running()) GTEST_SKIP() << "PostgreSQL is not installed";
  const auto outcomes = open_postgres_outcomes(server.url(), "outcomes");
  ASSERT_TRUE(outcomes.ok()) << outcomes.error().message;
  const std::vector<ports::OutcomeRow> rows = {{.id = "a", .status = 200}};
  server.stop();
  const Status away = (*outcomes)->put(rows);
  ASSERT_FALSE(away.ok());
  Status put = away;
  EXPECT_EQ(put.error().kind, ErrorKind::unavailable);
  server.start();
  for (int tries = 0; tries < 3 && !put.ok(); ++tries) put = (*outcomes)->put(rows);
  EXPECT_TRUE(put.ok()) << put.error().message;
}

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Postgres, OutcomeTableContract, testing::Values(&adapters::make_postgres_outcomes));
}  // namespace thaw::ports
