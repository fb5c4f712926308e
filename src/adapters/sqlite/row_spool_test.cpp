#include "adapters/sqlite/row_spool.h"

#include <gmock/gmock.h>

#include "base/folder_for_test.h"

namespace thaw::adapters {
namespace {

using ports::SpoolKeeps;
using ports::SpoolRow;

class RowSpool : public testing::Test {
 protected:
  std::unique_ptr<ports::RowSpool> open(SpoolKeeps keeps, std::uint64_t bytes_max = 1 << 30) {
    auto spool = open_row_spool({.folder = folder_.at("spools"), .bytes_max = bytes_max, .keeps = keeps});
    EXPECT_TRUE(spool.ok()) << spool.error().message;
    return std::move(*spool);
  }
  FolderForTest folder_;
};

TEST_F(RowSpool, TheLatestOfEachKeyStays) {
  const auto spool = open(SpoolKeeps::latest);
  for (const SpoolRow& row : {SpoolRow{"a", 5, 0, "a5"}, SpoolRow{"b", 1, 0, "b1"}, SpoolRow{"a", 4, 9, "a4"},
                              SpoolRow{"b", 1, 2, "created later"}, SpoolRow{"b", 1, 1, "created before"},
                              SpoolRow{"c", 1, 1, "first"}, SpoolRow{"c", 1, 1, "second"}, SpoolRow{"", -7, 0, "none"}})
    ASSERT_TRUE(spool->put(row).ok());
  std::vector<std::string> values;
  std::optional<std::string> after;
  while (true) {
    const auto rows = spool->scan(after, 2, 1000);
    ASSERT_TRUE(rows.ok());
    if (rows->empty()) break;
    for (const SpoolRow& row : *rows) values.push_back(row.value);
    after = rows->back().key;
  }
  EXPECT_THAT(values, testing::ElementsAre("none", "a5", "created later", "second"));
}

TEST_F(RowSpool, TheLatestUpToATimeIsFound) {
  const auto spool = open(SpoolKeeps::history);
  for (const SpoolRow& row :
       {SpoolRow{"a", 10, 2, "ten, later"}, SpoolRow{"a", 10, 1, "ten"}, SpoolRow{"a", 20, 0, "twenty"},
        SpoolRow{"b", 15, 0, "b"}, SpoolRow{"c", 1, 1, "first"}, SpoolRow{"c", 1, 1, "second"}})
    ASSERT_TRUE(spool->put(row).ok());
  const auto value = [&](std::string_view key, std::int64_t from_us, std::int64_t until_us) {
    const auto row = spool->latest(key, from_us, until_us).value();
    return row ? row->value : "-";
  };
  EXPECT_EQ(value("a", 0, 9), "-");
  EXPECT_EQ(value("a", 0, 10), "ten, later");
  EXPECT_EQ(value("a", 0, 19), "ten, later");
  EXPECT_EQ(value("a", 0, 20), "twenty");
  EXPECT_EQ(value("a", 11, 19), "-");
  EXPECT_EQ(value("a", 10, 19), "ten, later");
  EXPECT_EQ(value("c", 0, 100), "second");
  EXPECT_EQ(value("d", 0, 100), "-");
}

TEST_F(RowSpool, ItsFileHasNoNameAndABound) {
  const auto spool = open(SpoolKeeps::latest, 1 << 20);
  EXPECT_EQ(count_in(folder_.at("spools")), 0U);
  Status status;
  for (int i = 0; i < 100 && status.ok(); ++i)
    status = spool->put({std::to_string(i), 0, 0, std::string(100'000, 'x')});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(status.error().message, testing::HasSubstr("1048576 bytes"));
}

}  // namespace
}  // namespace thaw::adapters
