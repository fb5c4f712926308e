#include "gateway/sigv4.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <deque>

#include "base/digest/sha256.h"
#include "base/sys.h"

namespace thaw::gateway {
namespace {

namespace json = boost::json;
using std::chrono::system_clock;
using namespace std::chrono_literals;

// AWS's examples have this key and this time.
constexpr char kId[] = "AKIDEXAMPLE";
constexpr char kSecret[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
constexpr std::int64_t kThen = 1440938160;  // 2015-08-30T12:36:00Z

system_clock::time_point at(std::int64_t unix_seconds) { return system_clock::from_time_t(unix_seconds); }

// A request with texts of its own.
class Request {
 public:
  Request(std::string method, std::string target) {
    head_.method = keep(std::move(method));
    head_.target = keep(std::move(target));
  }
  Request& field(std::string name, std::string value) {
    const std::string_view kept_name = keep(std::move(name));
    head_.fields.add(kept_name, keep(std::move(value)));
    return *this;
  }
  const http::RequestHead& head() const { return head_; }

 private:
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }
  std::deque<std::string> texts_;
  http::RequestHead head_;
};

// What verify() does behind the reading: "" for a good signature, else the error's code.
std::string judged(const http::RequestHead& head, std::string_view body, const AccessKeys& keys,
                   std::string_view service, system_clock::time_point now, std::string* message = nullptr) {
  const auto refused = [&](const Error& error) {
    if (message != nullptr) *message = error.message;
    return error.code;
  };
  const auto signature = read_signature(head);
  if (!signature.ok()) return refused(signature.error());
  const auto key = check_signature(*signature, head, keys, service, now);
  if (!key.ok()) return refused(key.error());
  const std::string declared(head.fields.find("x-amz-content-sha256"));
  const auto expected =
      expected_signature(*signature, head, (*key)->secret, declared.empty() ? hex(sha256(body)) : declared);
  if (!expected.ok()) return refused(expected.error());
  return *expected == signature->signature ? "" : "mismatch";
}

AccessKeys example_keys() {
  AccessKeys keys;
  keys[kId].secret = kSecret;
  return keys;
}

// The example of "Create a signed AWS API request", AWS IAM User Guide.
Request iam_example() {
  Request request("GET", "/?Action=ListUsers&Version=2010-05-08");
  request.field("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
      .field("Host", "iam.amazonaws.com")
      .field("X-Amz-Date", "20150830T123600Z")
      .field("Authorization",
             "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
             "SignedHeaders=content-type;host;x-amz-date, "
             "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
  return request;
}

TEST(SigV4, AwssPublishedExampleIsGood) {
  EXPECT_EQ(judged(iam_example().head(), "", example_keys(), "iam", at(kThen)), "");
  EXPECT_EQ(judged(iam_example().head(), "x", example_keys(), "iam", at(kThen)), "mismatch");
}

// get-vanilla of AWS's test suite for Signature Version 4.
TEST(SigV4, AwssTestSuite) {
  Request request("GET", "/");
  request.field("Host", "example.amazonaws.com")
      .field("X-Amz-Date", "20150830T123600Z")
      .field("Authorization",
             "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
             "SignedHeaders=host;x-amz-date, "
             "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  EXPECT_EQ(judged(request.head(), "", example_keys(), "service", at(kThen)), "");
}

class Vectors : public testing::Test {
 protected:
  void SetUp() override {
    const auto text = sys::read_file(std::string(THAW_SOURCE_DIR) + "/tests/data/sigv4.json", 1 << 20);
    ASSERT_TRUE(text.ok());
    const json::value all = json::parse(*text);
    for (const json::value& key : all.at("keys").as_array()) {
      AccessKey& made = keys_[json::value_to<std::string>(key.at("id"))];
      made.secret = json::value_to<std::string>(key.at("secret"));
      made.session_token = json::value_to<std::string>(key.at("token"));
    }
    vectors_ = all.at("vectors").as_array();
    ASSERT_GE(vectors_.size(), 10U);
  }

  static std::string text(const json::value& vector, std::string_view key) {
    return json::value_to<std::string>(vector.at(key));
  }
  static Request request_of(const json::value& vector, std::string target) {
    Request request(text(vector, "method"), std::move(target));
    for (const json::value& field : vector.at("fields").as_array())
      request.field(json::value_to<std::string>(field.at(0)), json::value_to<std::string>(field.at(1)));
    return request;
  }
  std::string judged_at(const json::value& vector, const Request& request, std::string_view body,
                        std::chrono::seconds later = 0s) const {
    return judged(request.head(), body, keys_, "lambda", at(vector.at("at").as_int64()) + later);
  }

  AccessKeys keys_;
  json::array vectors_;
};

TEST_F(Vectors, WhatBotocoreSignsIsGood) {
  for (const json::value& vector : vectors_) {
    const Request request = request_of(vector, text(vector, "target"));
    EXPECT_EQ(judged_at(vector, request, text(vector, "body")), "") << text(vector, "name");
  }
}

TEST_F(Vectors, WhateverIsChangedOfItIsNot) {
  for (const json::value& vector : vectors_) {
    const std::string name = text(vector, "name");
    const std::string target = text(vector, "target");
    const std::string body = text(vector, "body");
    const Request other_target = request_of(vector, "/x" + target);
    EXPECT_EQ(judged_at(vector, other_target, body), "mismatch") << name;
    const bool has_query = target.find('?') != std::string::npos;
    const Request other_query = request_of(vector, target + (has_query ? "&z=1" : "?z=1"));
    EXPECT_EQ(judged_at(vector, other_query, body), "mismatch") << name;
    const Request same = request_of(vector, target);
    const bool body_signed = name != "unsigned payload";
    EXPECT_EQ(judged_at(vector, same, body + "x"), body_signed ? "mismatch" : "") << name;
    Request other_field = request_of(vector, target);
    other_field.field("X-Amz-Invocation-Type", "DryRun");
    EXPECT_EQ(judged_at(vector, other_field, body), "InvalidSignatureException") << name;
  }
}

TEST_F(Vectors, ASignatureHoldsForFiveMinutesAndAUrlForItsTime) {
  for (const json::value& vector : vectors_) {
    const std::string target = text(vector, "target");
    const Request request = request_of(vector, target);
    const auto of_url = target.find("X-Amz-Expires=");
    const std::chrono::seconds valid(of_url == std::string::npos ? 300 : std::stoi(target.substr(of_url + 14)));
    EXPECT_EQ(judged_at(vector, request, text(vector, "body"), valid), "") << text(vector, "name");
    for (const std::chrono::seconds later : {valid + 1s, -301s})
      EXPECT_EQ(judged_at(vector, request, text(vector, "body"), later), "InvalidSignatureException");
    EXPECT_EQ(judged_at(vector, request, text(vector, "body"), -300s), "");
  }
}

TEST_F(Vectors, AnotherSecretAnotherKeyAnotherToken) {
  const json::value& vector = vectors_.front();
  const Request request = request_of(vector, text(vector, "target"));
  const std::string body = text(vector, "body");
  keys_[kId].secret += "x";
  EXPECT_EQ(judged_at(vector, request, body), "mismatch");
  keys_[kId].session_token = "wanted";
  EXPECT_EQ(judged_at(vector, request, body), "UnrecognizedClientException");
  keys_.erase(kId);
  EXPECT_EQ(judged_at(vector, request, body), "UnrecognizedClientException");
}

TEST(SigV4, WhatIsMissingIsNamed) {
  std::string message;
  const auto code = [&](const Request& request) {
    return judged(request.head(), "", example_keys(), "iam", at(kThen), &message);
  };
  EXPECT_EQ(code(Request("GET", "/")), "MissingAuthenticationTokenException");
  EXPECT_EQ(code(Request("GET", "/").field("Authorization", "Bearer x")), "IncompleteSignatureException");
  EXPECT_EQ(code(Request("GET", "/").field("Authorization", "AWS4-HMAC-SHA256 Signature=x")),
            "IncompleteSignatureException");
  EXPECT_EQ(message,
            "Authorization header requires 'Credential' parameter. Authorization header requires 'SignedHeaders' "
            "parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.");
  EXPECT_EQ(code(Request("GET", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=x")),
            "IncompleteSignatureException");
  EXPECT_NE(message.find("AWS query-string parameters requires 'X-Amz-Credential' parameter"), std::string::npos);
  EXPECT_EQ(code(Request("GET", "/?X-Amz-Algorithm=MD5")), "IncompleteSignatureException");
}

// The parts of an Authorization field, one of them another.
std::string with(const std::string& credential, const std::string& fields = "host;x-amz-date",
                 const std::string& date = "20150830T123600Z") {
  Request request("GET", "/");
  request.field("Host", "x").field("X-Amz-Date", date);
  request.field("Authorization",
                "AWS4-HMAC-SHA256 Credential=" + credential + ", SignedHeaders=" + fields + ", Signature=0000");
  std::string message;
  const std::string code = judged(request.head(), "", example_keys(), "lambda", at(kThen), &message);
  return code + ": " + message.substr(0, 60);
}

TEST(SigV4, ScopesAndDatesAreChecked) {
  const std::string good = "AKIDEXAMPLE/20150830/eu-west-1/lambda/aws4_request";
  EXPECT_EQ(with(good), "mismatch: ");
  EXPECT_TRUE(with("AKIDEXAMPLE/20150830/eu-west-1/s3/aws4_request")
                  .starts_with("InvalidSignatureException: Credential should be scoped to correct service: 'lambda'"));
  EXPECT_TRUE(with("AKIDEXAMPLE/20150830/eu-west-1/lambda/aws5")
                  .starts_with("InvalidSignatureException: Credential should be scoped with a valid terminator"));
  EXPECT_TRUE(with("AKIDEXAMPLE/20150830/lambda/aws4_request").starts_with("IncompleteSignatureException"));
  EXPECT_TRUE(with("/20150830/eu-west-1/lambda/aws4_request").starts_with("IncompleteSignatureException"));
  EXPECT_TRUE(with("AKIDEXAMPLE/20150829/eu-west-1/lambda/aws4_request")
                  .starts_with("InvalidSignatureException: Date in Credential scope does not match"));
  EXPECT_TRUE(with(good, "x-amz-date").starts_with("InvalidSignatureException: 'Host'"));
  EXPECT_TRUE(with(good, "host").starts_with("InvalidSignatureException: There were headers present"));
  EXPECT_TRUE(with(good, "host;;x-amz-date").starts_with("IncompleteSignatureException"));
  for (const char* date : {"", "2015-08-30T12:36:00Z", "20150830T123600", "20150830T1236Z", "20159930T123600Z"})
    EXPECT_TRUE(with(good, "host;x-amz-date", date).starts_with("IncompleteSignatureException")) << date;
  EXPECT_TRUE(with(good, "host;x-amz-date", "20150830T123059Z")
                  .starts_with("InvalidSignatureException: Signature expired: 20150830T123059Z is now"));
}

TEST(SigV4, AYearFarAheadIsOnlyNotYetCurrent) {
  EXPECT_TRUE(with("AKIDEXAMPLE/99991231/eu-west-1/lambda/aws4_request", "host;x-amz-date", "99991231T235959Z")
                  .starts_with("InvalidSignatureException: Signature not yet current"));
}

TEST(SigV4, APresignedUrlHasATimeWithinBounds) {
  for (const char* expires : {"0", "-1", "604801", "", "9e9", "1x"}) {
    const Request request(
        "GET", std::string("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A/20150830/r/lambda/aws4_request&"
                           "X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Signature=0&X-Amz-Expires=") +
                   expires);
    EXPECT_EQ(judged(request.head(), "", example_keys(), "lambda", at(kThen)), "IncompleteSignatureException");
  }
}

}  // namespace
}  // namespace thaw::gateway
