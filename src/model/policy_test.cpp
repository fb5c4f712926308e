#include "model/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace thaw::model {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

constexpr char kArn[] = "arn:aws:lambda:us-east-1:000000000000:function:a";

Result<json::object> statement(std::string_view request) {
  return statement_of(json::parse(request).as_object(), kArn);
}

json::object with_id(const std::string& id) {
  return *statement(R"({"StatementId": ")" + id + R"(", "Action": "lambda:*", "Principal": "*"})");
}

TEST(PolicyTest, AStatementHasWhatTheRequestSays) {
  const auto made = statement(R"({"StatementId": "s3", "Action": "lambda:InvokeFunction",
      "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::bucket", "SourceAccount": "123456789012"})");
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(json::value(*made), json::parse(R"({"Sid": "s3", "Effect": "Allow",
      "Principal": {"Service": "s3.amazonaws.com"}, "Action": "lambda:InvokeFunction",
      "Resource": "arn:aws:lambda:us-east-1:000000000000:function:a",
      "Condition": {"StringEquals": {"AWS:SourceAccount": "123456789012"},
                    "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"}}})"));
  const auto url = statement(R"({"StatementId": "u", "Action": "lambda:InvokeFunctionUrl", "Principal": "*",
      "FunctionUrlAuthType": "NONE"})");
  EXPECT_EQ(json::serialize(url->at("Condition")), R"({"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}})");
  EXPECT_EQ(url->at("Principal"), json::value("*"));
  const auto account = statement(R"({"StatementId": "u", "Action": "*", "Principal": "123456789012"})");
  EXPECT_EQ(json::serialize(account->at("Principal")), R"({"AWS":"arn:aws:iam::123456789012:root"})");
}

TEST(PolicyTest, BadRequestsAreRefusedByName) {
  const std::string rest = R"("Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com")";
  for (const auto& [request, what] : std::vector<std::pair<std::string, std::string>>{
           {"{" + rest + "}", "StatementId is missing"},
           {R"({"StatementId": "", )" + rest + "}", "StatementId is 0 bytes long"},
           {R"({"StatementId": "a b", )" + rest + "}", "StatementId may have"},
           {R"({"StatementId": "a", "Principal": "*"})", "Action is missing"},
           {R"({"StatementId": "a", "Action": "s3:GetObject", "Principal": "*"})", "Action must be"},
           {R"({"StatementId": "a", "Action": "*", "Principal": "somebody"})", "principal was invalid"},
           {R"({"StatementId": "a", "SourceAccount": "1", )" + rest + "}", "SourceAccount must have 12 digits"},
           {R"({"StatementId": "a", "SourceArn": "bucket", )" + rest + "}", "SourceArn must be an ARN"},
           {R"({"StatementId": "a", "FunctionUrlAuthType": "SOME", )" + rest + "}", "FunctionUrlAuthType must be"},
           {R"({"StatementId": "a", "Statement": "b", )" + rest + "}", "Statement is not possible here"},
       }) {
    const auto made = statement(request);
    ASSERT_FALSE(made.ok()) << request;
    EXPECT_THAT(made.error().message, HasSubstr(what));
  }
}

TEST(PolicyTest, StatementsAreAddedOnceAndRemoved) {
  Policy policy{.revision_id = "r"};
  ASSERT_TRUE(add_statement(policy, with_id("a")).ok());
  ASSERT_TRUE(add_statement(policy, with_id("b")).ok());
  EXPECT_EQ(add_statement(policy, with_id("a")).error().kind, ErrorKind::conflict);
  const auto stored = policy_from_json(json::serialize(to_json(policy)));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(policy_document(*stored), policy_document(policy));
  EXPECT_EQ(remove_statement(policy, "c").error().kind, ErrorKind::not_found);
  ASSERT_TRUE(remove_statement(policy, "a").ok());
  EXPECT_THAT(policy_document(policy), HasSubstr(R"("Statement":[{"Sid":"b")"));
  ASSERT_TRUE(remove_statement(policy, "b").ok());
  EXPECT_TRUE(policy.empty());
}

TEST(PolicyTest, APolicyHasABound) {
  Policy policy;
  Status added;
  int count = 0;
  while ((added = add_statement(policy, with_id("s" + std::to_string(count)))).ok()) ++count;
  EXPECT_EQ(added.error().code, kPolicyTooLong);
  EXPECT_GT(count, 50);
  EXPECT_LE(policy_document(policy).size(), kPolicyBytesMax);
  EXPECT_EQ(policy.statements.size(), static_cast<std::size_t>(count));
}

TEST(PolicyTest, ADamagedOneIsSaidToBeSo) {
  for (const char* text : {"", "{}", R"({"RevisionId": "r", "Statements": [1]})"})
    EXPECT_EQ(policy_from_json(text).error().kind, ErrorKind::corrupt);
}

}  // namespace
}  // namespace thaw::model
