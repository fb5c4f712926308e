// What every TableReader keeps to. An adapter's test makes one, and runs this:
//
//   INSTANTIATE_TEST_SUITE_P(Csv, TableReaderContract, testing::Values(&make_csv_fixture));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/iso_time.h"
#include "ports/table_reader.h"

namespace thaw::ports {

// A table under test: id (whole numbers), name (text), at (times with a zone), score (floats).
class TableFixture {
 public:
  struct Ride {
    int id = 0;
    std::optional<std::string> name;
    std::string at;
    std::optional<std::string> score;
  };
  virtual ~TableFixture() = default;
  virtual void fill(const std::vector<Ride>& rides) = 0;
  virtual Result<std::unique_ptr<TableReader>> open(const TableRequest& request) = 0;
};

using MakeTableFixture = std::unique_ptr<TableFixture> (*)();

class TableReaderContract : public testing::TestWithParam<MakeTableFixture> {
 protected:
  void SetUp() override {
    fixture_ = GetParam()();
    if (fixture_ == nullptr) GTEST_SKIP() << "the server that this table needs is not installed";
  }

  // Numbers as their shortest text, whether the source knows types or not.
  static std::string shown(const Cell& cell) {
    if (std::holds_alternative<std::monostate>(cell)) return "NULL";
    if (const auto* number = std::get_if<std::int64_t>(&cell)) return std::to_string(*number);
    if (const auto* number = std::get_if<double>(&cell)) {
      std::string text = std::to_string(*number);
      text.erase(text.find_last_not_of('0') + 1);
      return text;
    }
    return std::get<std::string>(cell);
  }
  std::vector<std::vector<std::string>> read(const TableRequest& request) {
    std::vector<std::vector<std::string>> rows;
    const auto reader = fixture_->open(request);
    if (!reader.ok()) {
      ADD_FAILURE() << reader.error().message;
      return rows;
    }
    TableRow row;
    while (true) {
      const auto more = (*reader)->next(row);
      if (!more.ok()) ADD_FAILURE() << more.error().message;
      if (!more.ok() || !*more) break;
      EXPECT_EQ((*reader)->row_number(), rows.size() + 1);
      EXPECT_EQ(row.size(), (*reader)->columns().size());
      rows.emplace_back();
      for (const Cell& cell : row) rows.back().push_back(shown(cell));
    }
    const auto again = (*reader)->next(row);
    EXPECT_TRUE(again.ok() && !*again) << "the end stays the end";
    return rows;
  }

  std::unique_ptr<TableFixture> fixture_;
};

using testing::ElementsAre;
using testing::HasSubstr;

TEST_P(TableReaderContract, AllColumnsComeInTheSourcesOrderAndNullsAreNull) {
  fixture_->fill({{1, "Ada", "2026-01-01T00:00:00Z", "0.5"}, {2, std::nullopt, "2026-01-02T00:00:00Z", std::nullopt}});
  const auto reader = fixture_->open({});
  ASSERT_TRUE(reader.ok()) << reader.error().message;
  EXPECT_THAT((*reader)->columns(), ElementsAre("id", "name", "at", "score"));
  EXPECT_THAT(read({.columns = {"score", "id", "name"}}),
              ElementsAre(ElementsAre("0.5", "1", "Ada"), ElementsAre("NULL", "2", "NULL")));
}

TEST_P(TableReaderContract, TextIsGivenOutAsItWasPutIn) {
  const std::vector<std::string> texts = {
      "",       " spaces ",   "comma, and \"quotes\"",  "two\nlines", "two\r\nlines",
      "ä🙂", "'); DROP--", std::string(200'000, 'x')};
  std::vector<TableFixture::Ride> rides;
  for (const std::string& text : texts) rides.push_back({1, text, "2026-01-01T00:00:00Z", std::nullopt});
  fixture_->fill(rides);
  const auto rows = read({.columns = {"name"}});
  ASSERT_EQ(rows.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(rows[i][0], texts[i]);
}

TEST_P(TableReaderContract, TimesAreReadAsMoments) {
  fixture_->fill({{1, "a", "2026-03-29T01:30:00+01:00", {}}, {2, "b", "2026-03-29T00:30:00.25Z", {}}});
  const auto rows = read({.columns = {"at"}});
  ASSERT_EQ(rows.size(), 2U);
  const auto first = parse_iso_time_us(rows[0][0]);
  ASSERT_TRUE(first) << rows[0][0];
  EXPECT_EQ(parse_iso_time_us(rows[1][0]), *first + 250'000) << rows[1][0];
}

TEST_P(TableReaderContract, NoRowWithinTheBoundsIsLeftOut) {
  std::vector<TableFixture::Ride> rides;
  for (int day = 1; day <= 28; ++day) {
    const std::string date = "2026-02-" + std::string(day < 10 ? "0" : "") + std::to_string(day);
    rides.push_back({day, "a", date + "T23:30:00-12:00", {}});
    rides.push_back({day, "a", date + "T00:30:00+14:00", {}});
  }
  fixture_->fill(rides);
  const std::int64_t from_us = *parse_iso_time_us("2026-02-10T12:00:00Z");
  const std::int64_t until_us = *parse_iso_time_us("2026-02-12T11:30:00Z");
  std::size_t expected = 0;
  for (const auto& ride : rides) {
    const std::int64_t at = *parse_iso_time_us(ride.at);
    expected += at >= from_us && at < until_us ? 1 : 0;
  }
  ASSERT_GT(expected, 0U);
  std::size_t found = 0;
  for (const auto& row : read({.columns = {"at"}, .bounds = TimeBounds{"at", from_us, until_us}})) {
    const std::int64_t at = parse_iso_time_us(row[0]).value();
    found += at >= from_us && at < until_us ? 1 : 0;
  }
  EXPECT_EQ(found, expected);
}

TEST_P(TableReaderContract, ManyRowsComeInOrder) {
  std::vector<TableFixture::Ride> rides;
  for (int i = 0; i < 20'000; ++i) rides.push_back({i, "name of " + std::to_string(i), "2026-01-01T00:00:00Z", "1.5"});
  fixture_->fill(rides);
  const auto rows = read({.columns = {"id", "name"}});
  ASSERT_EQ(rows.size(), rides.size());
  for (std::size_t i = 0; i < rows.size(); i += 777) EXPECT_EQ(rows[i][1], "name of " + rows[i][0]);
}

TEST_P(TableReaderContract, AnEmptyTableHasColumnsAndNoRows) {
  fixture_->fill({});
  EXPECT_TRUE(read({}).empty());
}

TEST_P(TableReaderContract, AColumnThatIsNotThereIsNamedWithThoseThatAre) {
  fixture_->fill({});
  for (const TableRequest& request : {TableRequest{.columns = {"id", "rate"}},
                                      TableRequest{.columns = {"id"}, .bounds = TimeBounds{.column = "rate"}}}) {
    const auto reader = fixture_->open(request);
    ASSERT_FALSE(reader.ok());
    EXPECT_EQ(reader.error().kind, ErrorKind::invalid_argument);
    EXPECT_THAT(reader.error().message, HasSubstr("rate"));
    EXPECT_THAT(reader.error().message, HasSubstr("score"));
  }
}

}  // namespace thaw::ports
