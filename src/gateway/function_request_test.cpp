#include "gateway/function_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace thaw::gateway {
namespace {

using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

Result<model::FunctionConfig> apply(std::string_view text) {
  ASSIGN_OR_RETURN(const auto body, parse_object(text));
  model::FunctionConfig config = lambda_defaults();
  RETURN_IF_ERROR(apply_configuration(body, config));
  return config;
}

TEST(FunctionRequest, SaysWhatTheFunctionIs) {
  const auto config = apply(R"({"Runtime":"python3.12","Handler":"app.run","Description":"d","Timeout":900,
      "Role":"arn:aws:iam::000000000000:role/path/any","MemorySize":10240,"EphemeralStorage":{"Size":1024},
      "Environment":{"Variables":{"A1":"x","B_":""}},"Architectures":["x86_64"],"PackageType":"Zip",
      "VpcConfig":{"SubnetIds":[],"SecurityGroupIds":[]},"KMSKeyArn":"","ImageConfig":null})");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->kind, model::FunctionKind::event);
  EXPECT_EQ(config->runtime, "python3.12");
  EXPECT_EQ(config->handler, "app.run");
  EXPECT_EQ(config->role, "arn:aws:iam::000000000000:role/path/any");
  EXPECT_EQ(config->description, "d");
  EXPECT_EQ(config->timeout_s, 900U);
  EXPECT_EQ(config->memory_mb, 10240U);
  EXPECT_EQ(config->ephemeral_mb, 1024U);
  EXPECT_THAT(config->environment, UnorderedElementsAre(Pair("A1", "x"), Pair("B_", "")));
}

TEST(FunctionRequest, WhatIsMissingOrNullStays) {
  const auto config = apply(R"({"Timeout":null,"Environment":null,"SnapStart":{},"EphemeralStorage":{"Size":null}})");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(*config, lambda_defaults());
  EXPECT_EQ(config->memory_mb, 128U);
  EXPECT_EQ(config->timeout_s, 3U);
}

struct Refused {
  std::string body;
  std::string code;  // empty: InvalidParameterValueException
  std::string says;
};

TEST(FunctionRequest, BadMembersAreNamedWithTheirLimits) {
  const std::string large =
      R"({"Environment":{"Variables":{"AB":")" + std::string(kVariablesBytesMax - 1, 'x') + "\"}}}";
  const Refused cases[] = {
      {R"({"MemorySize":127})", "ValidationException",
       "Value '127' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"},
      {R"({"MemorySize":10241})", "ValidationException", "less than or equal to 10240"},
      {R"({"MemorySize":18446744073709551615})", "ValidationException", "less than or equal to 10240"},
      {R"({"MemorySize":"128"})", "SerializationException", "MemorySize"},
      {R"({"MemorySize":128.5})", "SerializationException", "MemorySize"},
      {R"({"Timeout":0})", "ValidationException", "'timeout'"},
      {R"({"Timeout":901})", "ValidationException", "less than or equal to 900"},
      {R"({"EphemeralStorage":{"Size":511}})", "ValidationException", "'ephemeralStorage.size'"},
      {R"({"EphemeralStorage":512})", "SerializationException", "EphemeralStorage"},
      {R"({"Handler":"a b"})", "ValidationException", "'handler'"},
      {R"({"Handler":")" + std::string(129, 'h') + "\"}", "ValidationException", "less than or equal to 128"},
      {R"({"Description":")" + std::string(257, 'd') + "\"}", "ValidationException", "less than or equal to 256"},
      {R"({"Role":"me"})", "ValidationException", "Value 'me' at 'role'"},
      {R"({"Role":"arn:aws:iam::12345678901:role/x"})", "ValidationException", "'role'"},
      {R"({"Role":"arn:aws"})", "ValidationException", "'role'"},
      {R"({"Runtime":"java21"})", "", "Value java21 at 'runtime'"},
      {R"({"Runtime":7})", "SerializationException", "Runtime"},
      {R"({"Environment":{"Variables":{"1A":""}}})", "ValidationException", "'environment.variables'"},
      {R"({"Environment":{"Variables":{"A":""}}})", "ValidationException", "'environment.variables'"},
      {R"({"Environment":{"Variables":{"AWS_REGION":"x","_HANDLER":"y"}}})", "", "AWS_REGION, _HANDLER"},
      {R"({"Environment":{"Variables":{"AB":1}}})", "SerializationException", "Environment.Variables"},
      {large, "", "4KB"},
      {R"({"SnapStart":{"ApplyOn":"Always"}})", "ValidationException", "snapStart.applyOn"},
      {R"({"PackageType":"Image"})", "", "Image"},
      {R"({"Architectures":["arm64"]})", "", "arm64"},
      {R"({"Architectures":[]})", "ValidationException", "architectures"},
      {R"({"VpcConfig":{"SubnetIds":["subnet-1"]}})", "", "VpcConfig"},
      {R"({"CodeSigningConfigArn":"arn:x"})", "", "CodeSigningConfigArn"},
      {R"({"Timeout":)", "InvalidRequestContentException", "json"},
      {R"([])", "InvalidRequestContentException", "object"},
  };
  for (const Refused& one : cases) {
    const auto config = apply(one.body);
    ASSERT_FALSE(config.ok()) << one.body;
    EXPECT_EQ(config.error().kind, ErrorKind::invalid_argument) << one.body;
    EXPECT_EQ(config.error().code, one.code) << one.body;
    EXPECT_THAT(config.error().message, HasSubstr(one.says));
  }
}

TEST(FunctionRequest, AFunctionNeedsRoleCodeRuntimeAndHandler) {
  const auto check = [](std::string_view text) { return check_required(parse_object(text).value()); };
  EXPECT_TRUE(check(R"({"Role":"r","Code":{},"Runtime":"r","Handler":"h"})").ok());
  EXPECT_THAT(check(R"({"Code":{},"Runtime":"r","Handler":"h"})").error().message, HasSubstr("Value null at 'role'"));
  EXPECT_THAT(check(R"({"Role":"r","Runtime":"r","Handler":"h"})").error().message, HasSubstr("'code'"));
  EXPECT_THAT(check(R"({"Role":"r","Code":{},"Runtime":"r"})").error().message, HasSubstr("Handler are mandatory"));
}

TEST(FunctionRequest, NamesAreLambdas) {
  for (const char* name : {"a", "A-b_9", "-", "_"}) EXPECT_TRUE(check_lambda_name(name).ok()) << name;
  EXPECT_TRUE(check_lambda_name(std::string(64, 'a')).ok());
  EXPECT_EQ(check_lambda_name("a b").error().code, "ValidationException");
  EXPECT_THAT(check_lambda_name(std::string(65, 'a')).error().message, HasSubstr("less than or equal to 64"));
}

}  // namespace
}  // namespace thaw::gateway
