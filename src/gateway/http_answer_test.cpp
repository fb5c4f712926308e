#include "gateway/http_answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thaw::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

HttpAnswer answer_of(std::string_view payload) {
  auto answer = http_answer(std::string(payload), PayloadFormat::v2);
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
    const auto answer = http_answer(payload, PayloadFormat::v2);
    ASSERT_FALSE(answer.ok()) << payload;
    EXPECT_EQ(answer.error().kind, ErrorKind::function_failed);
    EXPECT_THAT(answer.error().message, HasSubstr(what));
  }
  EXPECT_FALSE(http_answer(std::string(100000, '['), PayloadFormat::v2).ok());
}

TEST(HttpAnswer, InFormat1AResponseHasAStatusCode) {
  EXPECT_EQ(http_answer(R"({"statusCode": 201, "body": "x"})", PayloadFormat::v1)->status, 201);
  EXPECT_FALSE(http_answer(R"({"body": "x"})", PayloadFormat::v1).ok());
  EXPECT_FALSE(http_answer("\"x\"", PayloadFormat::v1).ok());
}

// What a reader makes of the text in pieces of that size, and what is left for the body.
std::pair<Result<std::optional<HttpAnswer>>, std::string> read_prelude(std::string_view text, std::size_t piece_bytes) {
  PreludeReader reader;
  for (std::size_t at = 0; at < text.size(); at += piece_bytes) {
    std::string_view piece = text.substr(at, piece_bytes);
    auto answer = reader.read(piece);
    if (!answer.ok() || *answer)
      return {std::move(answer),
              std::string(piece) + std::string(text.substr(std::min(at + piece_bytes, text.size())))};
  }
  return {std::optional<HttpAnswer>(), ""};
}

TEST(Prelude, IsReadInPiecesAndEndedByEightZeros) {
  const std::string text = std::string(R"({"statusCode": 201, "headers": {"X-A": "b"}, "cookies": ["c=d"]})") +
                           std::string(8, '\0') + std::string("\0body", 5);
  for (std::size_t piece_bytes = 1; piece_bytes <= text.size(); ++piece_bytes) {
    const auto [answer, rest] = read_prelude(text, piece_bytes);
    ASSERT_TRUE(answer.ok() && *answer) << piece_bytes;
    EXPECT_EQ((*answer)->status, 201);
    EXPECT_EQ((*answer)->content_type, "application/octet-stream");
    EXPECT_THAT((*answer)->fields, ElementsAre(Pair("X-A", "b"), Pair("Set-Cookie", "c=d")));
    EXPECT_EQ(rest, std::string_view("\0body", 5));
  }
}

TEST(Prelude, WhatIsNoneIsRefused) {
  const std::string zeros(8, '\0');
  for (const std::string& text :
       {"{}" + zeros.substr(1) + "x", "[]" + zeros, "{" + zeros, zeros, R"({"statusCode": 1})" + zeros,
        R"({"headers": {"a": "b\nc"}})" + zeros, std::string(kPreludeBytesMax + 1, ' ')}) {
    const auto [answer, rest] = read_prelude(text, 1000);
    ASSERT_FALSE(answer.ok()) << text.substr(0, 100);
    EXPECT_EQ(answer.error().kind, ErrorKind::function_failed);
  }
  EXPECT_FALSE(*read_prelude("{}" + zeros.substr(1), 1).first);
  EXPECT_EQ((*read_prelude("{}" + zeros, 1).first)->status, 200);
}

}  // namespace
}  // namespace thaw::gateway
