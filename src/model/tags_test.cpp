#include "model/tags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace thaw::model {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string key, std::string value) {
  Tags tags;
  boost::json::object object;
  object[key] = value;
  const Status status = add_tags(object, tags);
  return status.ok() ? "" : status.error().message;
}

TEST(TagsTest, AreAddedOverThoseThatAreThereAndComeBackAsStored) {
  Tags tags{{"team", "red"}, {"kept", ""}};
  boost::json::object object{{"team", "blue"}, {"größe", "a_b.c:d/e=f+g-h@i j"}};
  ASSERT_TRUE(add_tags(object, tags).ok());
  EXPECT_EQ(tags, (Tags{{"team", "blue"}, {"kept", ""}, {"größe", "a_b.c:d/e=f+g-h@i j"}}));
  const auto stored = tags_from_json(boost::json::serialize(to_json(tags)));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(*stored, tags);
}

TEST(TagsTest, KeysAndValuesHaveLimits) {
  std::string umlauts;
  for (int i = 0; i < 128; ++i) umlauts += "ü";
  EXPECT_EQ(error_of(umlauts, std::string(256, 'v')), "");
  EXPECT_THAT(error_of(umlauts + "ü", ""), HasSubstr("129 characters: it must have 1 to 128"));
  EXPECT_THAT(error_of("", ""), HasSubstr("0 characters"));
  EXPECT_THAT(error_of("k", std::string(257, 'v')), HasSubstr("257 characters; at most 256"));
  EXPECT_THAT(error_of("k\n", ""), HasSubstr("key may have letters"));
  EXPECT_THAT(error_of("k", "<b>"), HasSubstr("value may have letters"));
  EXPECT_THAT(error_of("aws:mine", ""), HasSubstr("reserved"));
  EXPECT_THAT(error_of("AWS:mine", ""), HasSubstr("reserved"));
  EXPECT_EQ(error_of("awsmine", ""), "");
}

TEST(TagsTest, FiftyAreTheMost) {
  Tags tags;
  for (int i = 0; i < 49; ++i) tags["k" + std::to_string(i)] = "";
  EXPECT_TRUE(add_tags({{"a", ""}, {"k1", "again"}}, tags).ok());
  const Status status = add_tags({{"b", ""}}, tags);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("51 tags; at most 50"));
}

TEST(TagsTest, DamagedOnesAreSaidToBeSo) {
  for (const char* text : {"", "[]", R"({"a": 1})"}) EXPECT_EQ(tags_from_json(text).error().kind, ErrorKind::corrupt);
}

}  // namespace
}  // namespace thaw::model
