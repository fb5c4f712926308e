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

TEST(FunctionName, WhatNamesNoFunctionIsRefused) {
  for (const char* text : {"", ":", ":1", "hello:", "hello:1:2", "arn:", "arn:aws:s3:us-east-1:000000000000:function:a",
                           "arn:aws:lambda:us-east-1:1:function:a", "arn:aws:lambda:us-east-1:000000000000:layer:a",
                           "arn:aws:lambda:us-east-1:000000000000:function:", "000000000000:function:"}) {
    EXPECT_EQ(parsed(text), "refused") << text;
  }
}

}  // namespace
}  // namespace thaw::gateway
