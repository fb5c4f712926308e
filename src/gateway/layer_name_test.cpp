#include "gateway/layer_name.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace thaw::gateway {
namespace {

const std::string kPrefix = "arn:aws:lambda:us-east-1:000000000000:layer:";

TEST(LayerName, NamesAndArns) {
  EXPECT_EQ(parse_layer_name("my_layer-1").value(), "my_layer-1");
  EXPECT_EQ(parse_layer_name(kPrefix + "a").value(), "a");
  EXPECT_EQ(layer_version_arn("a", 7), kPrefix + "a:7");
  for (const std::string& text : {std::string(), std::string("a b"), std::string("a:1"), std::string(141, 'a'), kPrefix,
                                  std::string("arn:aws:lambda:eu-west-1:000000000000:layer:a")}) {
    EXPECT_FALSE(parse_layer_name(text).ok()) << text;
  }
}

TEST(LayerName, ArnsOfVersions) {
  const auto found = parse_layer_version_arn(kPrefix + "a:12");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->name, "a");
  EXPECT_EQ(found->version, 12U);
  for (const std::string& text :
       {kPrefix + "a", kPrefix + "a:", kPrefix + "a:0", kPrefix + "a:x", kPrefix + ":1", kPrefix + "a:1:2",
        std::string("a:1"), std::string("arn:aws:lambda:us-east-1:123456789012:layer:a:1"), std::string()}) {
    EXPECT_FALSE(parse_layer_version_arn(text).ok()) << text;
  }
}

TEST(LayerName, AFunctionHasAtMostFiveAndNoneTwice) {
  const auto parse = [](const std::string& text) { return parse_layers(boost::json::parse(text)); };
  EXPECT_TRUE(parse("[]")->empty());
  const auto two = parse("[\"" + kPrefix + "b:1\",\"" + kPrefix + "a:2\"]");
  ASSERT_TRUE(two.ok()) << two.error().message;
  EXPECT_EQ((*two)[0].name, "b");
  EXPECT_EQ((*two)[1].version, 2U);
  EXPECT_FALSE(parse("[\"" + kPrefix + "a:1\",\"" + kPrefix + "a:2\"]").ok());
  EXPECT_FALSE(parse("[1,2,3,4,5,6]").ok());
  EXPECT_EQ(parse("[1]").error().code, "SerializationException");
  EXPECT_EQ(parse("\"a\"").error().code, "SerializationException");
}

}  // namespace
}  // namespace thaw::gateway
