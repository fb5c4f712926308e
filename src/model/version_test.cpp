#include "model/version.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace thaw::model {
namespace {

using ::testing::HasSubstr;

TEST(VersionNumber, DecimalWithoutLeadingZeros) {
  EXPECT_EQ(version_number("1"), 1U);
  EXPECT_EQ(version_number("999999999999999999"), 999999999999999999U);
  for (const char* text : {"", "0", "01", "+1", "-1", "1 ", "1.0", "$LATEST", "live", "1000000000000000000"}) {
    EXPECT_EQ(version_number(text), std::nullopt) << text;
  }
}

TEST(AliasName, LettersDigitsHyphensAndUnderscores) {
  for (const char* name : {"live", "BLUE_green-2", "2nd", "-", "_1"}) EXPECT_TRUE(check_alias_name(name).ok()) << name;
  for (const char* name : {"", "12", "a b", "a:b", "$LATEST", "ä", "a/b"}) {
    EXPECT_FALSE(check_alias_name(name).ok()) << name;
  }
  EXPECT_TRUE(check_alias_name(std::string(128, 'a')).ok());
  EXPECT_THAT(check_alias_name(std::string(129, 'a')).error().message, HasSubstr("at most 128"));
}

TEST(AliasCheck, NamesTheFieldThatIsWrong) {
  const Alias good{.name = "live", .function_version = "2", .additional = WeightedVersion{"1", 0.25}};
  EXPECT_TRUE(check_alias(good).ok());
  const auto message = [&](auto change) {
    Alias alias = good;
    change(alias);
    const Status checked = check_alias(alias);
    return checked.ok() ? "no error" : checked.error().message;
  };
  EXPECT_THAT(message([](Alias& a) { a.function_version = "live"; }), HasSubstr("FunctionVersion"));
  EXPECT_THAT(message([](Alias& a) { a.function_version = "$LATEST"; }), HasSubstr("FunctionVersion"));
  EXPECT_THAT(message([](Alias& a) { a.additional->version = "2"; }), HasSubstr("another version"));
  EXPECT_THAT(message([](Alias& a) { a.additional->version = "$LATEST"; }), HasSubstr("AdditionalVersionWeights"));
  EXPECT_THAT(message([](Alias& a) { a.additional->weight = 1.01; }), HasSubstr("0 to 1"));
  EXPECT_THAT(message([](Alias& a) { a.additional->weight = -0.01; }), HasSubstr("0 to 1"));
  EXPECT_THAT(message([](Alias& a) { a.additional->weight = std::nan(""); }), HasSubstr("0 to 1"));
  EXPECT_THAT(message([](Alias& a) { a.description.assign(257, 'x'); }), HasSubstr("Description is 257 bytes"));
  EXPECT_THAT(message([](Alias& a) { a.description.push_back('\0'); }), HasSubstr("Description holds a NUL"));
  EXPECT_TRUE(check_alias({.name = "next", .function_version = "$LATEST"}).ok());
}

}  // namespace
}  // namespace thaw::model
