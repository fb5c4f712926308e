#include "http/amazon_event_stream.h"

#include <gtest/gtest.h>

namespace thaw::http {
namespace {

using std::string_literals::operator""s;

// Of the vectors that AWS's own implementations are tested with (aws-c-event-stream; botocore has the same).
const std::string kEmpty = "\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\x7d\x98\xc8\xff"s;
const std::string kPayload = "\x00\x00\x00\x1d\x00\x00\x00\x00\xfd\x52\x8c\x5a{'foo':'bar'}\xc3\x65\x39\x36"s;
const std::string kOneHeader =
    "\x00\x00\x00\x3d\x00\x00\x00\x20\x07\xfd\x83\x96\x0c"
    "content-type\x07\x00\x10"
    "application/json{'foo':'bar'}\x8d\x9c\x08\xb1"s;

AmazonMessage message(std::string payload, std::vector<std::pair<std::string, std::string>> headers = {}) {
  return {std::move(headers), std::move(payload)};
}

TEST(AmazonEventStream, EncodesTheVectorsOfAws) {
  EXPECT_EQ(*encode_amazon_message(message("")), kEmpty);
  EXPECT_EQ(*encode_amazon_message(message("{'foo':'bar'}")), kPayload);
  EXPECT_EQ(*encode_amazon_message(message("{'foo':'bar'}", {{"content-type", "application/json"}})), kOneHeader);
}

TEST(AmazonEventStream, DecodesOneMessageAfterTheOther) {
  const auto first = decode_amazon_message(kOneHeader + kPayload);
  ASSERT_TRUE(first.ok() && first->has_value());
  EXPECT_EQ((*first)->message, message("{'foo':'bar'}", {{"content-type", "application/json"}}));
  EXPECT_EQ((*first)->bytes, kOneHeader.size());
}

TEST(AmazonEventStream, APartOfAMessageIsNoMessageAndNoError) {
  for (std::size_t bytes = 0; bytes < kOneHeader.size(); ++bytes) {
    const auto decoded = decode_amazon_message(kOneHeader.substr(0, bytes));
    ASSERT_TRUE(decoded.ok()) << bytes;
    EXPECT_FALSE(decoded->has_value()) << bytes;
  }
}

TEST(AmazonEventStream, EveryChangedByteIsFound) {
  for (std::size_t at = 0; at < kOneHeader.size(); ++at) {
    std::string changed = kOneHeader;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    EXPECT_FALSE(decode_amazon_message(changed).ok()) << at;
  }
}

TEST(AmazonEventStream, WhatCannotBeSentIsAnError) {
  EXPECT_FALSE(encode_amazon_message(message("", {{"", "x"}})).ok());
  EXPECT_FALSE(encode_amazon_message(message("", {{std::string(256, 'n'), "x"}})).ok());
  EXPECT_FALSE(encode_amazon_message(message("", {{"n", std::string(32768, 'v')}})).ok());
  EXPECT_FALSE(encode_amazon_message(message("", {{"n", "1"}, {"n", "2"}})).ok());
  EXPECT_EQ(encode_amazon_message(message(std::string(kAmazonPayloadBytesMax + 1, 'p'))).error().kind,
            ErrorKind::too_large);
}

TEST(AmazonEventStream, EventsOfAResponseStream) {
  const auto chunk = decode_amazon_message(*payload_chunk_event("a\0b"s));
  ASSERT_TRUE(chunk.ok() && chunk->has_value());
  EXPECT_EQ((*chunk)->message, message("a\0b"s, {{":event-type", "PayloadChunk"},
                                                 {":content-type", "application/octet-stream"},
                                                 {":message-type", "event"}}));
  const auto end = decode_amazon_message(*invoke_complete_event("Unhandled", "a \"b\"\n", ""));
  ASSERT_TRUE(end.ok() && end->has_value());
  EXPECT_EQ((*end)->message.payload, R"({"ErrorCode":"Unhandled","ErrorDetails":"a \"b\"\u000a"})");
  EXPECT_EQ((*decode_amazon_message(*invoke_complete_event("", "", "")))->message.payload, "{}");
  EXPECT_FALSE(invoke_complete_event("Unhandled", "\xff", "").ok());
}

}  // namespace
}  // namespace thaw::http
