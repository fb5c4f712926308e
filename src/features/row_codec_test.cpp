#include "features/row_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "features/definitions.h"
#include "features/entity_key.h"
#include "features/value_json.h"

namespace thaw::features {
namespace {

using model::FeatureField;
using model::FeatureScalar;
using model::FeatureValue;
using testing::HasSubstr;

std::vector<FeatureField> all_types() {
  std::vector<FeatureField> fields;
  for (const char* type : {"Bool", "Int32", "Int64", "Float32", "Float64", "String", "Bytes", "UnixTimestamp"}) {
    fields.push_back({type, *parse_type(type), ""});
    const std::string list = std::string("Array(") + type + ")";
    fields.push_back({list, *parse_type(list), ""});
  }
  return fields;
}

std::vector<FeatureValue> some_values() {
  const std::string bytes("\0\xff", 2);
  return {true,
          std::vector<bool>{true, false},
          std::int64_t{-2147483648},
          std::vector<std::int64_t>{1, -1},
          std::numeric_limits<std::int64_t>::min(),
          std::vector<std::int64_t>{},
          0.5,
          std::vector<double>{0.25, -1.5},
          0.1,
          std::vector<double>{std::numeric_limits<double>::infinity()},
          std::string("text"),
          std::vector<std::string>{"", "a", "bc"},
          bytes,
          std::vector<std::string>{bytes},
          std::int64_t{1'700'000'000'123},
          std::vector<std::int64_t>{-1}};
}

TEST(RowCodec, EveryTypeComesBack) {
  const auto fields = all_types();
  const auto slots = feature_slots(fields);
  const auto values = some_values();
  const auto row = encode_row(slots, values);
  ASSERT_TRUE(row.ok()) << row.error().message;
  std::vector<Cell> cells(fields.size());
  ASSERT_TRUE(decode_row(*row, slots, cells).ok());
  for (std::size_t i = 0; i < fields.size(); ++i) {
    EXPECT_EQ(cells[i].state, CellState::present) << fields[i].name;
    EXPECT_EQ(cells[i].value, values[i]) << fields[i].name;
  }
}

TEST(RowCodec, AViewWithOtherFeaturesReadsWhatItKnows) {
  const FeatureField a{"a", *parse_type("Int64"), ""};
  const FeatureField b{"b", *parse_type("String"), ""};
  const FeatureField added{"added", *parse_type("Float64"), ""};
  const FeatureField retyped{"a", *parse_type("Int32"), ""};
  const auto row = encode_row(feature_slots(std::vector{a, b}), std::vector<FeatureValue>{std::int64_t{7}, {}});
  ASSERT_TRUE(row.ok());
  std::vector<Cell> cells(4);
  ASSERT_TRUE(decode_row(*row, feature_slots(std::vector{added, b, retyped, a}), cells).ok());
  EXPECT_EQ(cells[0].state, CellState::absent);
  EXPECT_EQ(cells[1].state, CellState::null);
  EXPECT_EQ(cells[2].state, CellState::absent);
  EXPECT_EQ(cells[3].state, CellState::present);
  EXPECT_EQ(cells[3].value, FeatureValue(std::int64_t{7}));
}

TEST(RowCodec, ValuesOfAnotherTypeOrSizeAreRefused) {
  const std::vector<FeatureField> fields = {{"i", *parse_type("Int32"), ""}};
  const auto slots = feature_slots(fields);
  const auto refused = [&](FeatureValue value) {
    const auto row = encode_row(slots, std::vector{std::move(value)});
    return row.ok() ? std::string("(none)") : row.error().message;
  };
  EXPECT_THAT(refused(0.5), HasSubstr("0: the value is not of type Int32"));
  EXPECT_THAT(refused(std::int64_t{2147483648}), HasSubstr("Int32"));
  EXPECT_FALSE(encode_row(slots, {}).ok());
  const std::vector<FeatureField> text = {{"s", *parse_type("String"), ""}};
  const auto large =
      encode_row(feature_slots(text), std::vector<FeatureValue>{std::string(model::kFeatureValueBytesMax, 'x')});
  ASSERT_FALSE(large.ok());
  EXPECT_EQ(large.error().kind, ErrorKind::too_large);
}

TEST(RowCodec, DamageIsSaid) {
  const auto fields = all_types();
  const auto slots = feature_slots(fields);
  const auto row = encode_row(slots, some_values());
  ASSERT_TRUE(row.ok());
  std::vector<Cell> cells(fields.size());
  for (std::size_t size = 0; size < row->size(); ++size)
    EXPECT_FALSE(decode_row(std::string_view(*row).substr(0, size), slots, cells).ok()) << size;
  EXPECT_FALSE(decode_row(*row + "x", slots, cells).ok());
  // Whatever a byte is changed to, it is read or refused.
  for (std::size_t i = 0; i < row->size(); ++i) {
    std::string changed = *row;
    changed[i] = static_cast<char>(changed[i] ^ 0x55);
    (void)decode_row(changed, slots, cells).ok();
  }
}

TEST(EntityKeys, OneKeyForEachEntityAndBack) {
  const std::vector<EntityKey> entities = {{"a", *parse_type("String")}, {"b", *parse_type("String")}};
  const std::vector<std::vector<FeatureValue>> rows = {
      {std::string("x"), std::string("yz")}, {std::string("xy"), std::string("z")},
      {std::string(""), std::string("xyz")}, {std::string("xyz"), std::string("")},
      {std::string("\0", 1), std::string()}, {std::string(), std::string("\0", 1)},
  };
  std::set<std::string> keys;
  for (const auto& row : rows) {
    const auto key = encode_entity_key(entities, row);
    ASSERT_TRUE(key.ok());
    EXPECT_TRUE(keys.insert(*key).second);
    EXPECT_EQ(*decode_entity_key(entities, *key), row);
  }
}

TEST(EntityKeys, NumbersOrderAndTypesDiffer) {
  const std::vector<EntityKey> number = {{"n", *parse_type("Int64")}};
  std::vector<std::string> keys;
  for (const std::int64_t n : {std::numeric_limits<std::int64_t>::min(), std::int64_t{-5}, std::int64_t{0},
                               std::int64_t{5}, std::numeric_limits<std::int64_t>::max()}) {
    keys.push_back(*encode_entity_key(number, std::vector<FeatureValue>{n}));
    EXPECT_EQ(decode_entity_key(number, keys.back())->front(), FeatureValue(n));
  }
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  const std::vector<EntityKey> time = {{"n", *parse_type("UnixTimestamp")}};
  EXPECT_NE(*encode_entity_key(time, std::vector<FeatureValue>{std::int64_t{0}}), keys[2]);
  EXPECT_FALSE(decode_entity_key(time, keys[2]).ok());
  EXPECT_FALSE(decode_entity_key(number, keys[2] + "x").ok());
  EXPECT_FALSE(decode_entity_key(number, keys[2].substr(1)).ok());
}

TEST(EntityKeys, WhatDoesNotFitIsNamed) {
  const std::vector<EntityKey> entities = {{"name", *parse_type("String")}};
  EXPECT_THAT(encode_entity_key(entities, std::vector<FeatureValue>{std::int64_t{1}}).error().message,
              HasSubstr("'name' must be of type String"));
  EXPECT_THAT(encode_entity_key(entities, std::vector<FeatureValue>{std::string(5000, 'x')}).error().message,
              HasSubstr("'name' is too long"));
}

std::string written(const FeatureValue& value, const char* type) {
  std::string out;
  append_value(out, value, *parse_type(type));
  return out;
}

TEST(ValueJson, FloatsAreShortestAndReadAsFloats) {
  EXPECT_EQ(written(double{0.1F}, "Float32"), "0.1");
  EXPECT_EQ(written(0.1, "Float64"), "0.1");
  EXPECT_EQ(written(1.0, "Float64"), "1.0");
  EXPECT_EQ(written(-0.0, "Float64"), "-0.0");
  EXPECT_EQ(written(1e300, "Float64"), "1e+300");
  EXPECT_EQ(written(std::numeric_limits<double>::quiet_NaN(), "Float32"), "\"NaN\"");
  EXPECT_EQ(written(-std::numeric_limits<double>::infinity(), "Float64"), "\"-Infinity\"");
}

TEST(ValueJson, OtherTypesAreAsFeastWritesThem) {
  EXPECT_EQ(written({}, "Int64"), "null");
  EXPECT_EQ(written(std::int64_t{-7}, "Int64"), "-7");
  EXPECT_EQ(written(std::int64_t{1'700'000'000'000}, "UnixTimestamp"), "1700000000");
  EXPECT_EQ(written(std::int64_t{1'500}, "UnixTimestamp"), "1.5");
  EXPECT_EQ(written(std::string("a\"\n\x01ü"), "String"), "\"a\\\"\\n\\u0001ü\"");
  EXPECT_EQ(written(std::string("\xff"), "Bytes"), "\"/w==\"");
  EXPECT_EQ(written(std::vector<std::string>{"a", "b"}, "Array(String)"), "[\"a\",\"b\"]");
  EXPECT_EQ(written(std::vector<bool>{true, false}, "Array(Bool)"), "[true,false]");
  EXPECT_EQ(written(std::vector<double>{}, "Array(Float32)"), "[]");
}

std::string time_text(std::int64_t ms) {
  std::string out;
  append_time(out, ms);
  return out;
}

TEST(ValueJson, TimesAreReadInTheirUsualForms) {
  EXPECT_EQ(time_text(0), "\"1970-01-01T00:00:00Z\"");
  EXPECT_EQ(time_text(-1), "\"1969-12-31T23:59:59.999Z\"");
  EXPECT_EQ(time_text(951'782'400'000), "\"2000-02-29T00:00:00Z\"");
  for (const char* text : {"2021-05-13 10:59:42", "2021-05-13T10:59:42Z", "2021-05-13T12:59:42+02:00",
                           "2021-05-13T05:29:42-0530", "2021-05-13T10:59:42.000000", "2021-05-13T10:59:42.000+00"}) {
    const auto ms = time_from_text(text);
    ASSERT_TRUE(ms.ok()) << text;
    EXPECT_EQ(time_text(*ms), "\"2021-05-13T10:59:42Z\"") << text;
  }
  EXPECT_EQ(*time_from_text("2021-05-13"), *time_from_text("2021-05-13T00:00"));
  EXPECT_EQ(*time_from_text("1970-01-01T00:00:00.123456789Z"), 123);
  for (const char* text :
       {"", "x", "2021-13-01", "2021-02-29", "2021-05-13T", "2021-05-13T24:00", "2021-05-13T10:59:42.",
        "2021-05-13T10:59:42Zx", "2021-05-13T10:59:42+1", "2021-05-13x10:59"})
    EXPECT_FALSE(time_from_text(text).ok()) << text;
}

TEST(ValueJson, WhatIsNotOfTheTypeIsRefused) {
  const auto read = [](const char* type, boost::json::value value) {
    return value_from_json(value, *parse_type(type));
  };
  EXPECT_EQ(*read("Int64", 5.0), FeatureValue(std::int64_t{5}));
  EXPECT_EQ(*read("Float32", 0.1), FeatureValue(double{0.1F}));
  EXPECT_EQ(*read("Float64", 3), FeatureValue(3.0));
  EXPECT_EQ(*read("Bytes", "/w=="), FeatureValue(std::string("\xff")));
  EXPECT_EQ(*read("String", nullptr), FeatureValue());
  EXPECT_EQ(*read("UnixTimestamp", "1970-01-01T00:00:01Z"), FeatureValue(std::int64_t{1000}));
  EXPECT_FALSE(read("Int64", 0.5).ok());
  EXPECT_FALSE(read("Int64", "5").ok());
  EXPECT_FALSE(read("Int64", std::uint64_t{1} << 63).ok());
  EXPECT_FALSE(read("Int32", std::int64_t{1} << 31).ok());
  EXPECT_FALSE(read("Bool", 1).ok());
  EXPECT_FALSE(read("Float64", "x").ok());
  EXPECT_FALSE(read("Bytes", "?").ok());
  EXPECT_FALSE(read("UnixTimestamp", 1e300).ok());
  EXPECT_FALSE(read("Array(Int64)", 1).ok());
  EXPECT_FALSE(read("Array(Int64)", boost::json::array{1, nullptr}).ok());
}

}  // namespace
}  // namespace thaw::features
