#include "gateway/function_name.h"

#include <gtest/gtest.h>

namespace thaw::gateway {
namespace {

std::string parsed(std::string_view text) {
  const auto found = parse_function_name(text);
  return found.ok() ? found->name + "|" + found->qualifier : "refused";
}

TEST(FunctionName, NamePartialAndFullArnsWithAndWithoutQualifier) {
  EXPECT_EQ(parsed("hello"), "hello|");
  EXPECT_EQ(parsed("hello:live"), "hello|live");
  EXPECT_EQ(parsed("000000000000:function:hello"), "hello|");
  EXPECT_EQ(parsed("000000000000:function:hello:1"), "hello|1");
  EXPECT_EQ(parsed("arn:aws:lambda:us-east-1:000000000000:function:hello"), "hello|");
  EXPECT_EQ(parsed("arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST"), "hello|$LATEST");
  EXPECT_EQ(parsed("000000000000"), "000000000000|");
  EXPECT_EQ(parsed("000000000000:live"), "000000000000|live");
}

TEST(FunctionName, OtherRegionsAndAccountsAreAsLambdaSays) {
  const auto region = parse_function_name("arn:aws:lambda:eu-west-1:000000000000:function:hello");
  ASSERT_FALSE(region.ok());
  EXPECT_EQ(region.error().kind, ErrorKind::not_found);
  EXPECT_EQ(region.error().message, "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')");
  for (const char* text : {"arn:aws:lambda:us-east-1:000000000001:function:hello", "123456789012:function:hello"}) {
    const auto account = parse_function_name(text);
    ASSERT_FALSE(account.ok()) << text;
    EXPECT_EQ(account.error().kind, ErrorKind::forbidden);
  }
}

TEST(FunctionName, TheQualifierStandsInTheNameOrTheQuery) {
  const auto named = [](std::string_view segment, const Query& query) {
    const auto found = named_function(segment, query);
    return found.ok() ? found->name + "|" + found->qualifier : "refused";
  };
  EXPECT_EQ(named("hello", {}), "hello|");
  EXPECT_EQ(named("hello%3Alive", {}), "hello|live");
  EXPECT_EQ(named("arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello", {{"Qualifier", "1"}}), "hello|1");
  EXPECT_EQ(named("hello:1", {{"Qualifier", "1"}}), "hello|1");
  EXPECT_EQ(named("hello:1", {{"Qualifier", "2"}}), "refused");
  EXPECT_EQ(named("hello", {{"Qualifier", ""}}), "refused");
  EXPECT_EQ(named("%FF", {}), "refused");
}

TEST(FunctionName, WhatNamesNoFunctionIsRefused) {
  for (const char* text : {"", ":", ":1", "hello:", "hello:1:2", "arn:", "arn:aws:s3:us-east-1:000000000000:function:a",
                           "arn:aws:lambda:us-east-1:1:function:a", "arn:aws:lambda:us-east-1:000000000000:layer:a",
                           "arn:aws:lambda:us-east-1:000000000000:function:", "000000000000:function:"}) {
    EXPECT_EQ(parsed(text), "refused") << text;
  }
}

}  // namespace
}  // namespace thaw::gateway
