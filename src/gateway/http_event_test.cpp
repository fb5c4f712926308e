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
  PayloadFormat format = PayloadFormat::v2;
  std::string_view stage;
};

Result<std::string> event_text(const Request& request) {
  http::RequestHead head;
  head.method = request.method;
  for (const auto& [name, value] : request.fields) head.fields.add(name, value);
  return http_event({.head = head,
                     .target = request.target,
                     .prefix = request.prefix,
                     .format = request.format,
                     .stage = request.stage,
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

TEST(HttpEvent, IsPayloadFormat1) {
  const json::object event = event_of({.method = "POST",
                                       .target = "/my/p%C3%A4th?a=1&a=2&b=x+y",
                                       .fields = {{"Host", "greet.localhost:8080"},
                                                  {"User-Agent", "curl/7"},
                                                  {"Accept", "a"},
                                                  {"ACCEPT", "b"},
                                                  {"Cookie", "one=1"}},
                                       .body = "a=b",
                                       .format = PayloadFormat::v1,
                                       .stage = "prod"});
  EXPECT_EQ(json::value(event), parsed(R"({
      "resource": "/{proxy+}", "path": "/my/p%C3%A4th", "httpMethod": "POST",
      "headers": {"Host": "greet.localhost:8080", "User-Agent": "curl/7", "Accept": "b", "Cookie": "one=1",
                  "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http", "X-Forwarded-Port": "8080"},
      "multiValueHeaders": {"Host": ["greet.localhost:8080"], "User-Agent": ["curl/7"], "Accept": ["a", "b"],
                            "Cookie": ["one=1"], "X-Forwarded-For": ["192.0.2.7"], "X-Forwarded-Proto": ["http"],
                            "X-Forwarded-Port": ["8080"]},
      "queryStringParameters": {"a": "2", "b": "x y"},
      "multiValueQueryStringParameters": {"a": ["1", "2"], "b": ["x y"]},
      "pathParameters": {"proxy": "my/p%C3%A4th"}, "stageVariables": null,
      "requestContext": {"accountId": "000000000000", "apiId": "greet", "domainName": "greet.localhost",
                         "domainPrefix": "greet", "extendedRequestId": "id-1", "httpMethod": "POST",
                         "identity": {"accessKey": null, "accountId": null, "caller": null,
                                      "cognitoAuthenticationProvider": null, "cognitoAuthenticationType": null,
                                      "cognitoIdentityId": null, "cognitoIdentityPoolId": null, "principalOrgId": null,
                                      "user": null, "userArn": null, "sourceIp": "192.0.2.7", "userAgent": "curl/7"},
                         "path": "/prod/my/p%C3%A4th", "protocol": "HTTP/1.1", "requestId": "id-1",
                         "requestTime": "04/Mar/2020:19:03:58 +0000", "requestTimeEpoch": 1583348638390,
                         "resourceId": "/{proxy+}", "resourcePath": "/{proxy+}", "stage": "prod"},
      "body": "a=b", "isBase64Encoded": false})"));
}

TEST(HttpEvent, TheRootInFormat1HasNoProxyAndNoStageIsTheDefaultOne) {
  const json::object event = event_of({.format = PayloadFormat::v1});
  EXPECT_EQ(event.at("resource"), "/");
  EXPECT_EQ(event.at("version"), "1.0");
  for (const char* key : {"pathParameters", "queryStringParameters", "multiValueQueryStringParameters", "body"})
    EXPECT_TRUE(event.at(key).is_null()) << key;
  EXPECT_EQ(event.at("requestContext").at("stage"), "$default");
  EXPECT_EQ(event.at("requestContext").at("path"), "/");
}

}  // namespace
}  // namespace thaw::gateway
