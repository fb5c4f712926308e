#include "http/message.h"

#include <gtest/gtest.h>

namespace thaw::http {
namespace {

TEST(PercentDecode, DecodesAndRefusesHalfEscapes) {
  EXPECT_EQ(*percent_decode("a%20b%2Fc"), "a b/c");
  EXPECT_EQ(*percent_decode("a+b"), "a+b");
  EXPECT_FALSE(percent_decode("a%2").ok());
  EXPECT_FALSE(percent_decode("%zz").ok());
  EXPECT_FALSE(percent_decode("%00").ok());
  EXPECT_EQ(*percent_decode("%41"), "A");
}

TEST(ParseQuery, KeepsOrderAndReadsPlusAsSpace) {
  const auto pairs = parse_query("q=a+b&&c=%26&d&q=2");
  ASSERT_TRUE(pairs.ok());
  ASSERT_EQ(pairs->size(), 4U);
  EXPECT_EQ((*pairs)[0], (std::pair<std::string, std::string>("q", "a b")));
  EXPECT_EQ((*pairs)[1].second, "&");
  EXPECT_EQ((*pairs)[2], (std::pair<std::string, std::string>("d", "")));
  EXPECT_EQ((*pairs)[3].second, "2");
}

TEST(ParseQuery, BoundsTheNumberOfPairs) {
  std::string query;
  for (int i = 0; i < 1001; ++i) query += "a&";
  EXPECT_FALSE(parse_query(query).ok());
}

TEST(Fields, NamesCompareWithoutCase) {
  Fields fields;
  fields.add("Content-Type", "text/plain");
  EXPECT_EQ(fields.find("content-type"), "text/plain");
  EXPECT_TRUE(fields.has("CONTENT-TYPE"));
  EXPECT_EQ(fields.find("accept"), "");
}

TEST(HasToken, FindsWholeTokensOnly) {
  EXPECT_TRUE(has_token("close, X-Secret", "x-secret"));
  EXPECT_TRUE(has_token(" keep-alive ", "keep-alive"));
  EXPECT_FALSE(has_token("x-secrets", "x-secret"));
}

TEST(HttpDate, IsTheExampleOfRfc9110) { EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT"); }

TEST(IsUtf8, RefusesWhatTheStandardRefuses) {
  EXPECT_TRUE(is_utf8("ascii ä € 😀"));
  EXPECT_FALSE(is_utf8("\xc0\x80"));          // overlong
  EXPECT_FALSE(is_utf8("\xed\xa0\x80"));      // surrogate
  EXPECT_FALSE(is_utf8("\xf4\x90\x80\x80"));  // above U+10FFFF
  EXPECT_FALSE(is_utf8("\xe2\x82"));          // cut short
  EXPECT_FALSE(is_utf8("\xff"));
}

TEST(SplitTarget, TakesAbsoluteFormsApart) {
  EXPECT_EQ(split_target("http://h/p?q")->path, "/p");
  EXPECT_EQ(split_target("http://h/p?q")->query, "q");
  EXPECT_EQ(split_target("http://h")->path, "/");
  EXPECT_FALSE(split_target("*").ok());
  EXPECT_FALSE(split_target("/a b").ok());
}

}  // namespace
}  // namespace thaw::http
