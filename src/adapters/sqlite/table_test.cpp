#include "adapters/sqlite/table.h"

#include "adapters/sqlite/database.h"
#include "base/folder_for_test.h"
#include "ports/table_reader_contract_test.h"

namespace thaw::adapters {
namespace {

using testing::HasSubstr;

class SqliteFixture final : public ports::TableFixture {
 public:
  void fill(const std::vector<Ride>& rides) override {
    auto database = SqliteDatabase::open(path());
    ASSERT_TRUE(database.ok()) << database.error().message;
    ASSERT_TRUE(database->execute("CREATE TABLE rides (id INTEGER, name TEXT, at TEXT, score REAL); BEGIN").ok());
    auto insert = database->prepare("INSERT INTO rides VALUES (?1, ?2, ?3, ?4)");
    for (const Ride& ride : rides) {
      insert->bind(1, std::int64_t{ride.id}).bind(3, ride.at);
      if (ride.name) insert->bind(2, *ride.name);
      if (ride.score) insert->bind(4, *ride.score);
      ASSERT_TRUE(insert->run().ok());
    }
    ASSERT_TRUE(database->execute("COMMIT").ok());
  }
  Result<std::unique_ptr<ports::TableReader>> open(const ports::TableRequest& request) override {
    return open_sqlite_table({.path = path(), .table = "rides"}, request);
  }
  Result<std::unique_ptr<ports::TableReader>> open_query(const std::string& query) {
    return open_sqlite_table({.path = path(), .query = query}, {});
  }
  std::string path() const { return folder_.at("rides.db"); }

 private:
  FolderForTest folder_;
};

std::unique_ptr<ports::TableFixture> make_sqlite_fixture() { return std::make_unique<SqliteFixture>(); }

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Sqlite, TableReaderContract, testing::Values(&adapters::make_sqlite_fixture));
}  // namespace thaw::ports

namespace thaw::adapters {
namespace {

TEST(SqliteTable, AQueryIsOneSelect) {
  SqliteFixture fixture;
  fixture.fill({{1, "a", "2026-01-01", "1"}, {2, "b", "2026-01-01", "2"}});
  auto reader = fixture.open_query("SELECT id * 10 AS ten FROM rides WHERE id > 1 ; -- the last");
  ASSERT_TRUE(reader.ok()) << reader.error().message;
  ports::TableRow row;
  ASSERT_TRUE((*reader)->next(row).value());
  EXPECT_EQ(row[0], ports::Cell(std::int64_t{20}));
  for (const char* query : {"DELETE FROM rides", "SELECT 1; DELETE FROM rides", "SELECT id FROM rides) --",
                            "ATTACH '/tmp/x.db' AS x", "", "SELECT * FROM nowhere"}) {
    const auto refused = fixture.open_query(query);
    EXPECT_FALSE(refused.ok()) << query;
    EXPECT_EQ(refused.error().kind, ErrorKind::invalid_argument) << refused.error().message;
  }
  reader = fixture.open({.columns = {"id"}});
  EXPECT_TRUE(reader.ok());
}

TEST(SqliteTable, NumbersOutsideOfTheBoundsStayInTheFile) {
  FolderForTest folder;
  const std::string path = folder.at("t.db");
  {
    auto database = SqliteDatabase::open(path);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database
                    ->execute("CREATE TABLE t (at); INSERT INTO t VALUES (99.5), (100), (199.5), (200), ('yesterday'), "
                              "(NULL)")
                    .ok());
  }
  const ports::TimeBounds bounds{.column = "at", .from_us = 100'000'000, .until_us = 200'000'000};
  auto reader = open_sqlite_table({.path = path, .table = "t"}, {.bounds = bounds});
  ASSERT_TRUE(reader.ok()) << reader.error().message;
  std::vector<ports::Cell> cells;
  ports::TableRow row;
  while ((*reader)->next(row).value()) cells.push_back(row[0]);
  EXPECT_THAT(cells, testing::ElementsAre(ports::Cell(std::int64_t{100}), ports::Cell(199.5), ports::Cell("yesterday"),
                                          ports::Cell(std::monostate())));
}

TEST(SqliteTable, WhatIsNoDatabaseIsSaid) {
  FolderForTest folder;
  write_for_test(folder.at("t.db"), std::string(4096, 'x'));
  EXPECT_EQ(open_sqlite_table({.path = folder.at("t.db"), .table = "t"}, {}).error().kind, ErrorKind::corrupt);
  EXPECT_EQ(open_sqlite_table({.path = folder.at("none.db"), .table = "t"}, {}).error().kind, ErrorKind::not_found);
}

}  // namespace
}  // namespace thaw::adapters
