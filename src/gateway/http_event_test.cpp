#include "gateway/http_event.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace thaw::gateway {
namespace {

namespace json = boost::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

struct Request {
  std::string_view method = "GET";
  std::string_view target = "/";
  std::vector<http::Field> fields;
  std::string_view body;
  std::string_view prefix;
};

Result<std::string> event_text(const Request& request) {
  http::RequestHead head;
  head.method = request.method;
  for (const auto& [name, value] : request.fields) head.fields.add(name, value);
  return http_event({.head = head,
                     .target = request.target,
                     .prefix = request.prefix,
                     .body = request.body,
                     .source_ip = "192.0.2.7",
                     .function_name = "greet",
                     .request_id = "id-1",
                     .at = std::chrono::system_clock::time_point(std::chrono::milliseconds(1583348638390))});
}

json::object event_of(const Request& request) {
  const auto text = event_text(request);
  EXPECT_TRUE(text.ok()) << text.error().message;
  return json::parse(*text).get_object();
}

json::value parsed(std::string_view text) { return json::parse(json::string_view(text.data(), text.size())); }

TEST(HttpEvent, IsPayloadFormat2) {
  const json::object event = event_of({.method = "POST",
                                       .target = "/my/p%C3%A4th?a=1&a=2&b=x+y%21",
                                       .fields = {{"Host", "greet.localhost:8080"},
                                                  {"User-Agent", "curl/7"},
                                                  {"Accept", "a"},
                                                  {"ACCEPT", "b"},
                                                  {"Cookie", "one=1; two=2"},
                                                  {"Content-Type", "application/json"},
                                                  {"Connection", "keep-alive"}},
                                       .body = "{\"n\":1}"});
  EXPECT_EQ(json::value(event), parsed(R"({
      "version": "2.0", "routeKey": "$default", "rawPath": "/my/p%C3%A4th", "rawQueryString": "a=1&a=2&b=x+y%21",
      "cookies": ["one=1", "two=2"],
      "headers": {"host": "greet.localhost:8080", "user-agent": "curl/7", "accept": "a,b",
                  "content-type": "application/json", "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "http",
                  "x-forwarded-port": "8080"},
      "queryStringParameters": {"a": "1,2", "b": "x y!"},
      "requestContext": {"accountId": "anonymous", "apiId": "greet", "domainName": "greet.localhost",
                         "domainPrefix": "greet",
                         "http": {"method": "POST", "path": "/my/p%C3%A4th", "protocol": "HTTP/1.1",
                                  "sourceIp": "192.0.2.7", "userAgent": "curl/7"},
                         "requestId": "id-1", "routeKey": "$default", "stage": "$default",
                         "time": "04/Mar/2020:19:03:58 +0000", "timeEpoch": 1583348638390},
      "body": "{\"n\":1}", "isBase64Encoded": false})"));
}

TEST(HttpEvent, WhatIsNotThereIsLeftOut) {
  const json::object event = event_of({});
  for (const char* key : {"cookies", "queryStringParameters", "body"}) EXPECT_FALSE(event.contains(key)) << key;
  EXPECT_EQ(event.at("rawQueryString"), "");
  EXPECT_EQ(event.at("isBase64Encoded"), false);
  EXPECT_EQ(event.at("requestContext").at("domainName"), "localhost");
}

TEST(HttpEvent, ABodyIsTextWhereItsTypeSaysSoAndItIsUtf8) {
  const auto body = [](std::string_view type, std::string_view bytes, std::string_view encoding = {}) {
    Request request{.fields = {{"Content-Type", type}}, .body = bytes};
    if (!encoding.empty()) request.fields.push_back({"Content-Encoding", encoding});
    const json::object event = event_of(request);
    return std::pair(std::string(event.at("body").get_string()), event.at("isBase64Encoded").get_bool());
  };
  EXPECT_THAT(body("text/plain; charset=utf-8", "Grüße"), Pair("Grüße", false));
  EXPECT_THAT(body("application/problem+JSON", "{}"), Pair("{}", false));
  EXPECT_THAT(body("image/svg+xml", "<a/>"), Pair("<a/>", false));
  EXPECT_THAT(body("text/plain", "\xff\xfe"), Pair("//4=", true));
  EXPECT_THAT(body("application/octet-stream", "abc"), Pair("YWJj", true));
  EXPECT_THAT(body("application/x-www-form-urlencoded", "a=b"), Pair("YT1i", true));
  EXPECT_THAT(body("", "abc"), Pair("YWJj", true));
  EXPECT_THAT(body("text/plain", "abc", "gzip"), Pair("YWJj", true));
}

TEST(HttpEvent, ForwardedFieldsAreNotTheClientsToSet) {
  const json::object headers = event_of({.fields = {{"Host", "[::1]:9"},
                                                    {"X-Forwarded-For", "203.0.113.1"},
                                                    {"X-Forwarded-Prefix", "/evil"},
                                                    {"X-Amzn-RequestId", "forged"}},
                                         .prefix = "/fn/greet"})
                                   .at("headers")
                                   .get_object();
  EXPECT_EQ(headers.at("x-forwarded-for"), "203.0.113.1, 192.0.2.7");
  EXPECT_EQ(headers.at("x-forwarded-prefix"), "/fn/greet");
  EXPECT_EQ(headers.at("x-forwarded-port"), "9");
  EXPECT_FALSE(headers.contains("x-amzn-requestid"));
}

TEST(HttpEvent, BytesThatAreNoUtf8AreReadAsLatin1) {
  const json::object event = event_of({.target = "/?x=%E4", .fields = {{"X-Name", "J\xfcrgen"}}});
  EXPECT_EQ(event.at("headers").at("x-name"), "Jürgen");
  EXPECT_EQ(event.at("queryStringParameters").at("x"), "ä");
}

TEST(HttpEvent, AQueryThatCannotBeDecodedIsRefused) {
  EXPECT_EQ(event_text({.target = "/?a=%zz"}).error().kind, ErrorKind::invalid_argument);
}

HttpAnswer answer_of(std::string_view payload) {
  auto answer = http_answer(std::string(payload));
  EXPECT_TRUE(answer.ok()) << answer.error().message;
  return *std::move(answer);
}

TEST(HttpAnswer, HasStatusHeadersCookiesAndBody) {
  const HttpAnswer answer = answer_of(R"({"statusCode": 201, "headers": {"Content-Type": "text/plain", "X-N": 7,
      "X-T": true, "content-length": "99", "Transfer-Encoding": "chunked"}, "cookies": ["a=1", "b=2; Secure"],
      "body": "hällo", "isBase64Encoded": false})");
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.content_type, "text/plain");
  EXPECT_THAT(answer.fields, ElementsAre(Pair("X-N", "7"), Pair("X-T", "true"), Pair("Set-Cookie", "a=1"),
                                         Pair("Set-Cookie", "b=2; Secure")));
  EXPECT_EQ(answer.body, "hällo");
}

TEST(HttpAnswer, MultiValueHeadersReplaceHeadersOfTheSameName) {
  const HttpAnswer answer = answer_of(
      R"({"statusCode": "404", "headers": {"x-a": "old", "x-b": "b"}, "multiValueHeaders": {"X-A": ["1", "2"]}})");
  EXPECT_EQ(answer.status, 404);
  EXPECT_THAT(answer.fields, ElementsAre(Pair("x-b", "b"), Pair("X-A", "1"), Pair("X-A", "2")));
  EXPECT_EQ(answer.body, "");
}

TEST(HttpAnswer, WithoutAStatusCodeItIsTheWholeBody) {
  for (const char* payload : {"\"Hello, world!\"", "{ \"message\": \"hi\" }", "[1,2]", "null", "7"}) {
    const HttpAnswer answer = answer_of(payload);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.content_type, "application/json");
    EXPECT_EQ(answer.body, payload);
  }
}

TEST(HttpAnswer, ABodyInBase64IsBytes) {
  EXPECT_EQ(answer_of(R"({"statusCode": 200, "body": "AP8=", "isBase64Encoded": true})").body,
            std::string_view("\0\xff", 2));
}

TEST(HttpAnswer, WhatIsNoneIsRefusedByName) {
  const std::pair<const char*, const char*> kNone[] = {
      {"", "JSON"},
      {"{", "JSON"},
      {R"({"statusCode": 99})", "statusCode"},
      {R"({"statusCode": 600})", "statusCode"},
      {R"({"statusCode": null})", "statusCode"},
      {R"({"statusCode": "2xx"})", "statusCode"},
      {R"({"statusCode": 200, "headers": []})", "headers"},
      {R"({"statusCode": 200, "headers": {"a": {}}})", "header"},
      {R"({"statusCode": 200, "headers": {"a b": "c"}})", "header"},
      {R"({"statusCode": 200, "headers": {"a": "b\r\nc: d"}})", "header"},
      {R"({"statusCode": 200, "headers": {"content-type": "b\nc"}})", "header"},
      {R"({"statusCode": 200, "multiValueHeaders": {"a": "b"}})", "multiValueHeaders"},
      {R"({"statusCode": 200, "cookies": ["a\r\nb"]})", "header"},
      {R"({"statusCode": 200, "cookies": [1]})", "cookies"},
      {R"({"statusCode": 200, "body": {}})", "body"},
      {R"({"statusCode": 200, "body": "!", "isBase64Encoded": true})", "base64"},
      {R"({"statusCode": 200, "body": "", "isBase64Encoded": 1})", "isBase64Encoded"},
  };
  for (const auto& [payload, what] : kNone) {
    const auto answer = http_answer(payload);
    ASSERT_FALSE(answer.ok()) << payload;
    EXPECT_EQ(answer.error().kind, ErrorKind::function_failed);
    EXPECT_THAT(answer.error().message, HasSubstr(what));
  }
  EXPECT_FALSE(http_answer(std::string(100000, '[')).ok());
}

}  // namespace
}  // namespace thaw::gateway
