#include "features/cell_value.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/iso_time.h"

namespace thaw::features {
namespace {

using model::FeatureScalar;
using model::FeatureType;
using model::FeatureValue;
using testing::HasSubstr;
using TableCell = ports::Cell;

FeatureValue value(const TableCell& cell, FeatureType type, const CellRules& rules = {}) {
  const auto found = value_of_cell(cell, type, rules);
  if (!found.ok()) ADD_FAILURE() << found.error().message;
  return found.ok() ? *found : FeatureValue();
}

std::string error(const TableCell& cell, FeatureType type, const CellRules& rules = {}) {
  const auto found = value_of_cell(cell, type, rules);
  if (found.ok()) ADD_FAILURE() << "it was taken";
  return found.ok() ? "" : found.error().message;
}

TEST(CellValue, TextAndNumbersAreReadAsTheType) {
  EXPECT_EQ(value("-7", {FeatureScalar::int64}), FeatureValue(std::int64_t{-7}));
  EXPECT_EQ(value("9007199254740993", {FeatureScalar::int64}), FeatureValue(std::int64_t{9007199254740993}));
  EXPECT_EQ(value("3.0", {FeatureScalar::int32}), FeatureValue(std::int64_t{3}));
  EXPECT_EQ(value(3.0, {FeatureScalar::int32}), FeatureValue(std::int64_t{3}));
  EXPECT_EQ(value("1e3", {FeatureScalar::float64}), FeatureValue(1000.0));
  EXPECT_EQ(value(std::int64_t{2}, {FeatureScalar::float32}), FeatureValue(2.0));
  EXPECT_EQ(value("0.1", {FeatureScalar::float32}), FeatureValue(static_cast<double>(0.1F)));
  EXPECT_TRUE(std::isnan(std::get<double>(value("NaN", {FeatureScalar::float64}))));
  for (const TableCell& cell : {TableCell("True"), TableCell("t"), TableCell(std::int64_t{1}), TableCell(true)})
    EXPECT_EQ(value(cell, {FeatureScalar::boolean}), FeatureValue(true));
  EXPECT_EQ(value(std::int64_t{12}, {FeatureScalar::string}), FeatureValue("12"));
  EXPECT_EQ(value("", {FeatureScalar::string}), FeatureValue(""));
  EXPECT_EQ(value("AP8=", {FeatureScalar::bytes}, {.bytes_are_base64 = true}), FeatureValue(std::string("\0\xff", 2)));
  EXPECT_EQ(value(std::string("\0", 1), {FeatureScalar::bytes}), FeatureValue(std::string("\0", 1)));
  for (const auto scalar : {FeatureScalar::boolean, FeatureScalar::int64, FeatureScalar::string})
    EXPECT_EQ(value(std::monostate(), {scalar, true}), FeatureValue());
}

TEST(CellValue, ListsAreJsonArrays) {
  EXPECT_EQ(value("[1, 2.5]", {FeatureScalar::float64, true}), FeatureValue(std::vector<double>{1, 2.5}));
  EXPECT_EQ(value("[\"a\", \"\"]", {FeatureScalar::string, true}), FeatureValue(std::vector<std::string>{"a", ""}));
  EXPECT_EQ(value("[]", {FeatureScalar::int64, true}), FeatureValue(std::vector<std::int64_t>{}));
  EXPECT_THAT(error("1,2", {FeatureScalar::int64, true}), HasSubstr("JSON array"));
  EXPECT_THAT(error("[1,null]", {FeatureScalar::int64, true}), HasSubstr("elements"));
  EXPECT_THAT(error("[1,\"x\"]", {FeatureScalar::int64, true}), HasSubstr("\"x\" is no whole number"));
}

TEST(CellValue, WhatIsNotOfTheTypeIsNamed) {
  EXPECT_THAT(error("fast", {FeatureScalar::float64}), HasSubstr("\"fast\" is no number"));
  EXPECT_THAT(error("", {FeatureScalar::float64}), HasSubstr("no number"));
  EXPECT_THAT(error("2.5", {FeatureScalar::int64}), HasSubstr("no whole number"));
  EXPECT_THAT(error("1e300", {FeatureScalar::int64}), HasSubstr("no whole number"));
  EXPECT_THAT(error("3000000000", {FeatureScalar::int32}), HasSubstr("too large"));
  EXPECT_THAT(error("2", {FeatureScalar::boolean}), HasSubstr("no boolean"));
  EXPECT_THAT(error("?", {FeatureScalar::bytes}, {.bytes_are_base64 = true}), HasSubstr("base64"));
  EXPECT_THAT(error("yesterday", {FeatureScalar::unix_timestamp}), HasSubstr("no time"));
  EXPECT_THAT(error(std::string(model::kFeatureValueBytesMax + 1, 'x'), {FeatureScalar::string}), HasSubstr("bytes"));
}

TEST(CellValue, TimesAreTextOrNumbersOfTheUnit) {
  const std::int64_t noon_us = *parse_iso_time_us("2026-01-31T12:00:00Z");
  for (const TableCell& cell :
       {TableCell("2026-01-31 12:00:00"), TableCell("2026-01-31T13:00:00+01:00"), TableCell(noon_us / 1'000'000),
        TableCell(static_cast<double>(noon_us) / 1e6), TableCell(std::to_string(noon_us / 1'000'000))})
    EXPECT_EQ(time_of_cell(cell, 1'000'000).value(), noon_us);
  EXPECT_EQ(time_of_cell(noon_us / 1000, 1000).value(), noon_us);
  EXPECT_EQ(time_of_cell(std::monostate(), 1).value(), std::nullopt);
  EXPECT_EQ(value("2026-01-31T12:00:00.0015Z", {FeatureScalar::unix_timestamp}), FeatureValue(noon_us / 1000 + 1));
  EXPECT_EQ(value("1969-12-31T23:59:59.9995Z", {FeatureScalar::unix_timestamp}), FeatureValue(std::int64_t{-1}));
  EXPECT_FALSE(time_of_cell(std::numeric_limits<std::int64_t>::max(), 1'000'000).ok());
  EXPECT_FALSE(time_of_cell(1e300, 1).ok());
  EXPECT_FALSE(time_of_cell(std::nan(""), 1).ok());
}

TEST(CellValue, WhatIsWrittenIsReadAgain) {
  const std::vector<std::pair<FeatureValue, FeatureType>> values = {
      {true, {FeatureScalar::boolean}},
      {std::int64_t{-5}, {FeatureScalar::int64}},
      {0.1, {FeatureScalar::float64}},
      {static_cast<double>(0.1F), {FeatureScalar::float32}},
      {"text", {FeatureScalar::string}},
      {std::string("\0\xff", 2), {FeatureScalar::bytes}},
      {std::int64_t{1'769'860'800'123}, {FeatureScalar::unix_timestamp}},
      {std::vector<std::int64_t>{1'769'860'800'123}, {FeatureScalar::unix_timestamp, true}},
      {std::vector<bool>{true, false}, {FeatureScalar::boolean, true}},
      {std::vector<double>{1.5, -2}, {FeatureScalar::float64, true}},
      {std::vector<std::string>{"\xff", ""}, {FeatureScalar::bytes, true}}};
  for (const auto& [one, type] : values) {
    const auto text = text_of_value(one, type);
    ASSERT_TRUE(text);
    EXPECT_EQ(value(*text, type, {.bytes_are_base64 = true}), one) << *text;
  }
  EXPECT_EQ(text_of_value(FeatureValue(), {FeatureScalar::int64}), std::nullopt);
  EXPECT_EQ(text_of_value(static_cast<double>(0.1F), {FeatureScalar::float32}), "0.1");
}

}  // namespace
}  // namespace thaw::features
