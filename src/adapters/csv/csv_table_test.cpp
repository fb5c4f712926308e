#include "adapters/csv/csv_table.h"

#include "base/csv_text.h"
#include "base/folder_for_test.h"
#include "ports/table_reader_contract_test.h"

namespace thaw::adapters {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CsvFixture final : public ports::TableFixture {
 public:
  void fill(const std::vector<Ride>& rides) override {
    std::string text = "id,name,at,score\r\n";
    for (const Ride& ride : rides) {
      text += std::to_string(ride.id) + ",";
      append_csv_field(text, ride.name);
      text += "," + ride.at + "," + ride.score.value_or("") + "\r\n";
    }
    write_for_test(path(), text);
  }
  Result<std::unique_ptr<ports::TableReader>> open(const ports::TableRequest& request) override {
    return open_csv_table(path(), request);
  }
  std::string path() const { return folder_.at("rides.csv"); }

 private:
  FolderForTest folder_;
};

std::unique_ptr<ports::TableFixture> make_csv_fixture() { return std::make_unique<CsvFixture>(); }

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Csv, TableReaderContract, testing::Values(&adapters::make_csv_fixture));
}  // namespace thaw::ports

namespace thaw::adapters {
namespace {

class CsvTable : public testing::Test {
 protected:
  // The rows, and the message of the error that ended them.
  std::pair<std::vector<ports::TableRow>, std::string> read(const std::string& text,
                                                            const ports::TableRequest& request = {}) {
    write_for_test(folder_.at("t.csv"), text);
    std::pair<std::vector<ports::TableRow>, std::string> found;
    auto reader = open_csv_table(folder_.at("t.csv"), request);
    if (!reader.ok()) return {{}, reader.error().message};
    ports::TableRow row;
    while (true) {
      const auto more = (*reader)->next(row);
      if (!more.ok()) found.second = more.error().message;
      if (!more.ok() || !*more) return found;
      found.first.push_back(row);
    }
  }

  FolderForTest folder_;
};

TEST_F(CsvTable, AMarkOfByteOrderAndEitherEndOfLineArePartOfNothing) {
  for (const char* text : {"\xef\xbb\xbf"
                           "a,b\r\n1,2\r\n",
                           "a,b\n1,2\n", "a,b\n1,2", "a,b\r\n\r\n1,2\r\n\r\n", "a,\"b\"\n\"1\",2"}) {
    const auto [rows, error] = read(text, {.columns = {"b", "a"}});
    EXPECT_EQ(error, "");
    ASSERT_EQ(rows.size(), 1U) << text;
    EXPECT_THAT(rows[0], ElementsAre(ports::Cell("2"), ports::Cell("1")));
  }
}

TEST_F(CsvTable, EmptyIsNullAndQuotedEmptyIsText) {
  const auto [rows, error] = read("a,b\n,\"\"\n");
  ASSERT_EQ(rows.size(), 1U) << error;
  EXPECT_THAT(rows[0], ElementsAre(ports::Cell(std::monostate()), ports::Cell("")));
}

TEST_F(CsvTable, WhatIsMalformedIsNamedWithItsRow) {
  EXPECT_THAT(read("").second, HasSubstr("no header"));
  EXPECT_THAT(read("a,b,a\n").second, HasSubstr("the column a twice"));
  EXPECT_THAT(read("a,,b\n").second, HasSubstr("column 2"));
  const auto [rows, error] = read("a,b\n1,2\n3\n");
  EXPECT_EQ(rows.size(), 1U);
  EXPECT_THAT(error, HasSubstr("row 2 has 1 fields, the header has 2"));
  EXPECT_THAT(read("a\nx\n\"open\n").second, HasSubstr("ends inside a quoted field"));
  EXPECT_THAT(read("a\nx\nb\"c\n").second, HasSubstr("record 3"));
}

TEST_F(CsvTable, BoundsHold) {
  EXPECT_THAT(read("a\n" + std::string(ports::kTableCellBytesMax + 1, 'x')).second, HasSubstr("a field has more than"));
  std::string wide = "a";
  for (std::size_t i = 0; i <= ports::kTableColumnsMax; ++i) wide += ",a" + std::to_string(i);
  EXPECT_THAT(read(wide + "\n").second, HasSubstr("fields"));
}

TEST_F(CsvTable, AFileThatCannotBeReadIsNamed) {
  const auto missing = open_csv_table(folder_.at("none.csv"), {});
  EXPECT_EQ(missing.error().kind, ErrorKind::not_found);
  EXPECT_THAT(missing.error().message, HasSubstr("none.csv"));
  const auto folder = open_csv_table(folder_.path(), {});
  EXPECT_EQ(folder.error().kind, ErrorKind::invalid_argument);
  EXPECT_THAT(folder.error().message, HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace thaw::adapters
