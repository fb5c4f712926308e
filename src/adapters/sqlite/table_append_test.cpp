#include "adapters/sqlite/table_append.h"

#include <gmock/gmock.h>

#include "adapters/sqlite/database.h"
#include "adapters/sqlite/table.h"
#include "base/folder_for_test.h"

namespace thaw::adapters {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SqliteAppend, AllRowsOrNoneAreAppended) {
  FolderForTest folder;
  const std::string path = folder.at("t.db");
  {
    auto database = SqliteDatabase::open(path);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database->execute("CREATE TABLE t (a INTEGER CHECK (a < 10), \"b 'c\" TEXT, d REAL)").ok());
  }
  const std::vector<std::string> columns = {"b 'c", "a"};
  ASSERT_TRUE(
      append_sqlite_rows(path, "t", columns, R"([{"a":1,"b 'c":"x\"y"},{"a":2,"b 'c":["z"]},{"a":null}])").ok());
  const Status refused = append_sqlite_rows(path, "t", columns, R"([{"a":3},{"a":30}])");
  EXPECT_EQ(refused.error().kind, ErrorKind::invalid_argument);
  EXPECT_THAT(refused.error().message, HasSubstr("CHECK"));
  EXPECT_THAT(append_sqlite_rows(path, "none", columns, "[]").error().message, HasSubstr("none"));
  EXPECT_THAT(append_sqlite_rows(path, "t", {"x"}, "[]").error().message, HasSubstr("x"));
  EXPECT_EQ(append_sqlite_rows(folder.at("no.db"), "t", columns, "[]").error().kind, ErrorKind::not_found);
  auto reader = open_sqlite_table({.path = path, .table = "t"}, {.columns = {"a", "b 'c"}});
  ASSERT_TRUE(reader.ok());
  std::vector<ports::TableRow> rows;
  ports::TableRow row;
  while ((*reader)->next(row).value()) rows.push_back(row);
  const ports::Cell null;
  EXPECT_THAT(rows,
              ElementsAre(ElementsAre(ports::Cell(std::int64_t{1}), ports::Cell("x\"y")),
                          ElementsAre(ports::Cell(std::int64_t{2}), ports::Cell("[\"z\"]")), ElementsAre(null, null)));
}

}  // namespace
}  // namespace thaw::adapters
