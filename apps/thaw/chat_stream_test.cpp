#include "chat_stream.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace thaw::cli {
namespace {

using namespace std::chrono_literals;

const ChatStream::Clock::time_point kSent{};

struct Read {
  Status status;
  std::string shown;  // pieces, each behind its kind's letter
  bool complete = false;
  ChatAnswer answer;
};

// Each line arrives 100 ms after the one before it.
Read read(const std::vector<std::string>& lines) {
  Read result;
  ChatStream stream(
      [&](PieceKind kind, std::string_view text) {
        result.shown += (kind == PieceKind::text ? "T" : "R") + std::string(text);
      },
      kSent);
  auto now = kSent;
  for (const std::string& line : lines) {
    now += 100ms;
    if (result.status = stream.feed(line + "\n\n", now); !result.status.ok()) break;
  }
  result.complete = stream.complete();
  result.answer = std::move(stream).finish(now);
  return result;
}

std::string delta(const std::string& members) {
  return "data: {\"choices\":[{\"index\":0,\"delta\":{" + members + "}}]}";
}

const std::string kUsage = R"(data: {"choices":[],"usage":{"completion_tokens":7,"prompt_tokens":3},)"
                           R"("timings":{"predicted_n":7,"predicted_per_second":12.5}})";

// As llama-server writes it.
TEST(ChatStream, PutsAnAnswerTogether) {
  const Read got = read(
      {delta(R"("role":"assistant","content":null)"), delta(R"("content":"Hel")"), delta(R"("content":"lo \u00e9")"),
       R"(data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}]})", kUsage, "data: [DONE]"});
  ASSERT_TRUE(got.status.ok());
  EXPECT_TRUE(got.complete);
  EXPECT_EQ(got.shown, "THelTlo \xc3\xa9");
  EXPECT_EQ(got.answer.text, "Hello \xc3\xa9");
  EXPECT_EQ(got.answer.finish_reason, "stop");
  EXPECT_EQ(got.answer.tokens(), 7U);
  EXPECT_EQ(got.answer.tokens_per_second(), 12.5);
  EXPECT_EQ(got.answer.to_first_piece, 200ms);
  EXPECT_EQ(got.answer.took, 600ms);
  EXPECT_EQ(stats_line(got.answer), "7 tokens, 12.5 tokens/s, first token after 200 ms");
}

TEST(ChatStream, CountsForItselfWhereTheServerDoesNot) {
  const Read got = read({delta(R"("content":"a")"), delta(R"("content":"b")"), delta(R"("content":"c")"),
                         R"(data: {"choices":[{"finish_reason":"length","delta":{"content":""}}]})"});
  EXPECT_TRUE(got.complete);
  EXPECT_EQ(got.answer.tokens(), 3U);
  // Two more after the first, in 300 ms.
  EXPECT_NEAR(got.answer.tokens_per_second(), 2 / 0.3, 0.001);
  EXPECT_EQ(stats_line({}), "0 tokens");
}

TEST(ChatStream, ReasoningIsShownButNoPartOfTheAnswer) {
  const Read got = read({delta(R"("reasoning_content":"hm")"), delta(R"("content":"yes")")});
  EXPECT_EQ(got.shown, "RhmTyes");
  EXPECT_EQ(got.answer.text, "yes");
  EXPECT_EQ(got.answer.to_first_piece, 100ms);
}

TEST(ChatStream, AStreamThatStopsIsNotComplete) {
  EXPECT_FALSE(read({delta(R"("content":"a")")}).complete);
  EXPECT_FALSE(read({}).complete);
  EXPECT_TRUE(read({delta(R"("content":"a")"), "data: [DONE]"}).complete);
}

TEST(ChatStream, AnErrorInTheStreamEndsIt) {
  for (const char* line :
       {R"(data: {"error":{"code":500,"message":"out of slots"}})", R"(data: {"error":"out of slots"})"}) {
    const Read got = read({delta(R"("content":"a")"), line});
    ASSERT_FALSE(got.status.ok()) << line;
    EXPECT_EQ(got.status.error().kind, ErrorKind::function_failed);
    EXPECT_NE(got.status.error().message.find("out of slots"), std::string::npos);
    EXPECT_EQ(got.answer.text, "a");
  }
}

TEST(ChatStream, WhatIsNoChatIsRefused) {
  for (const char* line : {"data: hello", "data: [1]", "data: {\"choices\":[1]}"}) {
    EXPECT_FALSE(read({line}).status.ok()) << line;
  }
  // Odd, but harmless.
  for (const char* line :
       {"data: {}", R"(data: {"choices":5})", R"(data: {"choices":[{"delta":5}],"usage":[],"error":null})"}) {
    EXPECT_TRUE(read({line}).status.ok()) << line;
  }
}

TEST(ChatStream, TakesTheWholeAnswerOfAServerThatDoesNotStream) {
  std::string shown;
  ChatStream stream([&](PieceKind, std::string_view text) { shown += text; }, kSent);
  ASSERT_TRUE(stream
                  .take_whole(R"({"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"Hi"}}],)"
                              R"("usage":{"completion_tokens":1}})",
                              kSent + 1s)
                  .ok());
  EXPECT_TRUE(stream.complete());
  EXPECT_EQ(shown, "Hi");
  ChatStream other([](PieceKind, std::string_view) {}, kSent);
  EXPECT_FALSE(other.take_whole("<html>", kSent).ok());
  EXPECT_FALSE(other.take_whole("{\"answer\":\"Hi\"}", kSent).ok());
}

TEST(ChatStream, AnAnswerIsBounded) {
  ChatStream stream([](PieceKind, std::string_view) {}, kSent);
  const std::string piece = delta("\"content\":\"" + std::string(1 << 20, 'x') + "\"") + "\n\n";
  Status status;
  std::size_t taken = 0;
  for (; status.ok() && taken < 100; ++taken) status = stream.feed(piece, kSent);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::too_large);
  EXPECT_EQ(taken, (kAnswerBytesMax >> 20) + 1);
}

}  // namespace
}  // namespace thaw::cli
