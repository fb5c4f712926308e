#include "model/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace thaw::model {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

json::object object(std::string_view text) { return json::parse(text).as_object(); }

TEST(FunctionUrlConfigTest, EveryMemberIsReadAndComesBackAsStored) {
  FunctionUrlConfig config;
  const auto body = object(R"({"AuthType": "AWS_IAM", "InvokeMode": "RESPONSE_STREAM", "Cors": {
      "AllowCredentials": true, "AllowHeaders": ["x-a"], "AllowMethods": ["GET", "*"],
      "AllowOrigins": ["https://example.com"], "ExposeHeaders": ["x-b", "x-c"], "MaxAge": 86400}})");
  ASSERT_TRUE(apply(body, config).ok());
  EXPECT_EQ(config.auth_type, UrlAuthType::aws_iam);
  EXPECT_EQ(config.invoke_mode, InvokeMode::response_stream);
  EXPECT_EQ(config.cors, (Cors{true, {"x-a"}, {"GET", "*"}, {"https://example.com"}, {"x-b", "x-c"}, 86400}));
  config.creation_time = config.last_modified_time = "2026-01-31T12:00:00.000+0000";
  const auto stored = function_url_from_json(json::serialize(to_json(config)));
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  EXPECT_EQ(*stored, config);
}

TEST(FunctionUrlConfigTest, WhatIsMissingStaysAndAnEmptyCorsTakesItAway) {
  FunctionUrlConfig config{.auth_type = UrlAuthType::aws_iam, .cors = Cors{.allow_origins = {"*"}, .max_age_s = 5}};
  ASSERT_TRUE(apply(object(R"({"InvokeMode": "RESPONSE_STREAM"})"), config).ok());
  EXPECT_EQ(config.auth_type, UrlAuthType::aws_iam);
  EXPECT_EQ(config.cors->allow_origins, std::vector<std::string>{"*"});
  ASSERT_TRUE(apply(object(R"({"Cors": {"AllowMethods": ["PUT"]}})"), config).ok());
  EXPECT_EQ(*config.cors, Cors{.allow_methods = {"PUT"}});
  ASSERT_TRUE(apply(object(R"({"Cors": {}})"), config).ok());
  EXPECT_FALSE(config.cors.has_value());
}

TEST(FunctionUrlConfigTest, BadMembersAreNamedWithTheirLimit) {
  const std::string many = "[" + [] {
    std::string items = "\"a\"";
    for (int i = 0; i < 100; ++i) items += ",\"a\"";
    return items;
  }() + "]";
  for (const auto& [body, what] : std::vector<std::pair<std::string, std::string>>{
           {R"({"AuthType": "none"})", "AuthType must be NONE or AWS_IAM"},
           {R"({"AuthType": 1})", "AuthType must be a string"},
           {R"({"InvokeMode": ""})", "InvokeMode must be BUFFERED or RESPONSE_STREAM"},
           {R"({"Cors": []})", "Cors must be an object"},
           {R"({"Cors": {"MaxAge": 86401}})", "Cors.MaxAge must be a whole number from 0 to 86400"},
           {R"({"Cors": {"MaxAge": -1}})", "Cors.MaxAge"},
           {R"({"Cors": {"MaxAge": 1.5}})", "Cors.MaxAge"},
           {R"({"Cors": {"AllowCredentials": "yes"}})", "Cors.AllowCredentials must be true or false"},
           {R"({"Cors": {"AllowMethods": ["TRACE"]}})", "Cors.AllowMethods takes GET"},
           {R"({"Cors": {"AllowMethods": ["OPTIONS"]}})", "an item of Cors.AllowMethods is 7 bytes long"},
           {R"({"Cors": {"AllowOrigins": [""]}})", "it must have 1 to 253"},
           {R"({"Cors": {"AllowOrigins": ["a\r\nSet-Cookie: b"]}})", "printable"},
           {R"({"Cors": {"AllowHeaders": ")" + std::string("x") + R"("}})", "Cors.AllowHeaders must be a list"},
           {R"({"Cors": {"AllowHeaders": )" + many + "}}", "Cors.AllowHeaders has 101 items; at most 100"},
           {R"({"Cors": {"AllowOrigin": ["*"]}})", "Cors.AllowOrigin is not possible here"},
           {R"({"Auth": "NONE"})", "Auth is not possible here"},
       }) {
    FunctionUrlConfig config;
    const Status status = apply(object(body), config);
    ASSERT_FALSE(status.ok()) << body;
    EXPECT_EQ(status.error().kind, ErrorKind::invalid_argument);
    EXPECT_THAT(status.error().message, HasSubstr(what));
  }
}

TEST(FunctionUrlConfigTest, ADamagedOneIsSaidToBeSo) {
  for (const char* text : {"", "[]", "{}", R"({"AuthType": "NONE"})",
                           R"({"AuthType":"MAYBE","InvokeMode":"BUFFERED","CreationTime":"","LastModifiedTime":""})"}) {
    const auto read = function_url_from_json(text);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_EQ(read.error().kind, ErrorKind::corrupt);
  }
}

TEST(EventInvokeConfigTest, EveryMemberIsReadAndComesBackAsStored) {
  EventInvokeConfig config;
  ASSERT_TRUE(apply(object(R"({"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0, "DestinationConfig": {
      "OnSuccess": {"Destination": "arn:aws:s3:::done"},
      "OnFailure": {"Destination": "arn:aws:lambda:us-east-1:000000000000:function:other:live"}}})"),
                    config)
                  .ok());
  EXPECT_EQ(config.maximum_event_age_s, 60U);
  EXPECT_EQ(config.maximum_retry_attempts, 0U);
  config.last_modified_s = 1800000000;
  const auto stored = event_invoke_from_json(json::serialize(to_json(config)));
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  EXPECT_EQ(*stored, config);
}

TEST(EventInvokeConfigTest, WhatIsMissingStaysAndAnEmptyDestinationGoes) {
  EventInvokeConfig config{.maximum_event_age_s = 100, .on_success = "a", .on_failure = "b"};
  ASSERT_TRUE(apply(object(R"({"MaximumRetryAttempts": 1})"), config).ok());
  EXPECT_EQ(config.maximum_event_age_s, 100U);
  EXPECT_EQ(config.on_success, "a");
  ASSERT_TRUE(apply(object(R"({"DestinationConfig": {"OnFailure": {"Destination": ""}}})"), config).ok());
  EXPECT_EQ(config.on_success, "a");
  EXPECT_EQ(config.on_failure, "");
  ASSERT_TRUE(apply(object(R"({"DestinationConfig": {"OnSuccess": {}}})"), config).ok());
  EXPECT_EQ(config.on_success, "");
}

TEST(EventInvokeConfigTest, BadMembersAreNamedWithTheirLimit) {
  for (const auto& [body, what] : std::vector<std::pair<std::string, std::string>>{
           {"{}", "at least one of"},
           {R"({"MaximumRetryAttempts": null})", "at least one of"},
           {R"({"MaximumRetryAttempts": 3})", "MaximumRetryAttempts must be a whole number from 0 to 2"},
           {R"({"MaximumEventAgeInSeconds": 59})", "MaximumEventAgeInSeconds must be a whole number from 60 to 21600"},
           {R"({"MaximumEventAgeInSeconds": 21601})", "60 to 21600"},
           {R"({"DestinationConfig": {"OnFailure": {"Destination": "elsewhere"}}})",
            "DestinationConfig.OnFailure.Destination must be an ARN"},
           {R"({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws::::"}}})", "must be an ARN"},
           {R"({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:::)" + std::string(340, 'x') + "\"}}}",
            "0 to 350"},
           {R"({"DestinationConfig": {"OnFailure": "x"}})", "DestinationConfig.OnFailure must be an object"},
           {R"({"DestinationConfig": {"Both": {}}})", "DestinationConfig takes OnSuccess and OnFailure"},
           {R"({"MaximumRetry": 1, "MaximumRetryAttempts": 1})", "MaximumRetry is not possible here"},
       }) {
    EventInvokeConfig config;
    const Status status = apply(object(body), config);
    ASSERT_FALSE(status.ok()) << body;
    EXPECT_THAT(status.error().message, HasSubstr(what));
  }
}

TEST(EventInvokeConfigTest, ADamagedOneIsSaidToBeSo) {
  for (const char* text : {"null", "{}", R"({"LastModified": 1, "MaximumRetryAttempts": 7})", "{\"LastModified\": 1"}) {
    const auto read = event_invoke_from_json(text);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_EQ(read.error().kind, ErrorKind::corrupt);
  }
}

TEST(ConcurrencySettingsTest, NumbersAreCheckedAndComeBackAsStored) {
  ReservedConcurrency reserved;
  ASSERT_TRUE(apply(object(R"({"ReservedConcurrentExecutions": 0})"), reserved).ok());
  EXPECT_EQ(*reserved_concurrency_from_json(json::serialize(to_json(reserved))), reserved);
  EXPECT_FALSE(apply(object("{}"), reserved).ok());
  EXPECT_FALSE(apply(object(R"({"ReservedConcurrentExecutions": 1.5})"), reserved).ok());
  ProvisionedConcurrency provisioned{.last_modified = "now"};
  ASSERT_TRUE(apply(object(R"({"ProvisionedConcurrentExecutions": 7})"), provisioned).ok());
  EXPECT_EQ(*provisioned_concurrency_from_json(json::serialize(to_json(provisioned))), provisioned);
  EXPECT_FALSE(apply(object(R"({"ProvisionedConcurrentExecutions": 0})"), provisioned).ok());
  EXPECT_EQ(provisioned_concurrency_from_json("{}").error().kind, ErrorKind::corrupt);
}

}  // namespace
}  // namespace thaw::model
