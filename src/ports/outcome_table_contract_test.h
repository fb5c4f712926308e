// What every OutcomeTable keeps to. An adapter's test makes one, and runs this:
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, OutcomeTableContract, testing::Values(&make_sqlite_outcomes));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "ports/outcome_table.h"
#include "ports/table_reader.h"

namespace thaw::ports {

class OutcomeFixture {
 public:
  virtual ~OutcomeFixture() = default;
  virtual Result<std::unique_ptr<OutcomeTable>> open() = 0;
  // The answer's rows.
  virtual Result<std::unique_ptr<TableReader>> read(const std::string& query) = 0;
};

using MakeOutcomeFixture = std::unique_ptr<OutcomeFixture> (*)();

class OutcomeTableContract : public testing::TestWithParam<MakeOutcomeFixture> {
 protected:
  void SetUp() override {
    fixture_ = GetParam()();
    if (fixture_ == nullptr) GTEST_SKIP() << "the server that this table needs is not installed";
  }

  std::unique_ptr<OutcomeTable> table() {
    auto opened = fixture_->open();
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return opened.ok() ? std::move(*opened) : nullptr;
  }

  std::vector<TableRow> rows() {
    auto reader = fixture_->read("SELECT id, status, output, error, duration_ms FROM outcomes ORDER BY id");
    EXPECT_TRUE(reader.ok()) << reader.error().message;
    std::vector<TableRow> found;
    TableRow row;
    while (reader.ok()) {
      const auto more = (*reader)->next(row);
      EXPECT_TRUE(more.ok());
      if (!more.ok() || !*more) break;
      found.push_back(row);
    }
    return found;
  }

  std::unique_ptr<OutcomeFixture> fixture_;
};

TEST_P(OutcomeTableContract, KeepsWhatIsPutAndNullWhereThereIsNothing) {
  const auto outcomes = table();
  const std::vector<OutcomeRow> put = {
      {.id = "a'\"\n", .status = 200, .output = "{\"x\":\"Grüße\"}", .error = "", .duration_us = 1500},
      {.id = "b", .status = 0, .output = "", .error = "no answer", .duration_us = 0}};
  ASSERT_TRUE(outcomes->put(put).ok());
  ASSERT_TRUE(outcomes->flush().ok());
  const std::vector<TableRow> expected = {
      {std::string("a'\"\n"), std::int64_t{200}, std::string("{\"x\":\"Grüße\"}"), std::monostate(), 1.5},
      {std::string("b"), std::monostate(), std::monostate(), std::string("no answer"), 0.0}};
  EXPECT_EQ(rows(), expected);
}

TEST_P(OutcomeTableContract, TheLastOutcomeOfAnIdCounts) {
  const auto outcomes = table();
  ASSERT_TRUE(outcomes->put(std::vector<OutcomeRow>{{.id = "a", .error = "one"}, {.id = "a", .error = "two"}}).ok());
  ASSERT_EQ(rows().size(), 1U);
  EXPECT_EQ(rows()[0][3], Cell(std::string("two")));
  ASSERT_TRUE(outcomes->put(std::vector<OutcomeRow>{{.id = "a", .status = 200, .output = "3"}}).ok());
  ASSERT_EQ(rows().size(), 1U);
  EXPECT_EQ(rows()[0][2], Cell(std::string("3")));
  EXPECT_EQ(rows()[0][3], Cell(std::monostate()));
  ASSERT_TRUE(outcomes->put({}).ok());
}

TEST_P(OutcomeTableContract, ATableThatIsThereStaysUntilItIsCleared) {
  ASSERT_TRUE(table()->put(std::vector<OutcomeRow>{{.id = "a", .status = 200}}).ok());
  const auto again = table();
  ASSERT_EQ(rows().size(), 1U);
  ASSERT_TRUE(again->clear().ok());
  EXPECT_TRUE(rows().empty());
  ASSERT_TRUE(again->put(std::vector<OutcomeRow>{{.id = "b", .status = 200}}).ok());
  EXPECT_EQ(rows().size(), 1U);
}

}  // namespace thaw::ports
