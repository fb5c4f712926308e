#include "http/event_stream.h"

#include <gtest/gtest.h>

#include <vector>

namespace thaw::http {
namespace {

// "type=data" of each event; the same however the stream is cut.
std::vector<std::string> events_of(std::string_view stream) {
  std::vector<std::string> whole;
  for (const std::size_t piece_bytes : {stream.size() + 1, std::size_t{1}, std::size_t{3}}) {
    std::vector<std::string> got;
    EventStreamParser parser(1000);
    for (std::size_t at = 0; at < stream.size(); at += piece_bytes) {
      const Status taken = parser.feed(stream.substr(at, piece_bytes), [&](const StreamEvent& event) -> Status {
        got.push_back(event.type + "=" + event.data);
        return {};
      });
      EXPECT_TRUE(taken.ok());
    }
    if (piece_bytes > stream.size()) whole = got;
    EXPECT_EQ(got, whole) << "in pieces of " << piece_bytes;
  }
  return whole;
}

using Events = std::vector<std::string>;

TEST(EventStream, GivesEachEventWithItsData) {
  EXPECT_EQ(events_of("data: one\n\ndata: two\n\n"), (Events{"message=one", "message=two"}));
  EXPECT_EQ(events_of("event: error\ndata: {\"a\": 1}\n\n"), Events{"error={\"a\": 1}"});
}

TEST(EventStream, FollowsTheStandardsExamples) {
  EXPECT_EQ(events_of("data: YHOO\ndata: +2\ndata: 10\n\n"), Events{"message=YHOO\n+2\n10"});
  EXPECT_EQ(events_of(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event"),
            (Events{"message=first event", "message=second event"}));
  EXPECT_EQ(events_of("data\n\ndata\ndata\n\ndata:"), (Events{"message=", "message=\n"}));
  EXPECT_EQ(events_of("data:test\n\ndata: test\n\n"), (Events{"message=test", "message=test"}));
}

TEST(EventStream, LinesEndInAnyOfThreeWays) {
  EXPECT_EQ(events_of("data: a\r\rdata: b\r\n\r\ndata: c\n\n"), (Events{"message=a", "message=b", "message=c"}));
  EXPECT_EQ(events_of("data: a\r\n\ndata: b\n\r"), (Events{"message=a", "message=b"}));
}

TEST(EventStream, PassesOverWhatIsNoEvent) {
  EXPECT_EQ(events_of("\xef\xbb\xbf"
                      "data: a\n\n\n\n"),
            Events{"message=a"});
  EXPECT_EQ(events_of("event: lonely\n\ndata: a\n\n"), Events{"message=a"});
  EXPECT_EQ(events_of(":comment\nretry: 10\nDATA: x\n data: y\ndata : z\n\n"), Events{});
}

TEST(EventStream, AnEventIsBounded) {
  const auto status = [](std::string_view stream) {
    EventStreamParser parser(1000);
    return parser.feed(stream, [](const StreamEvent&) { return Status(); });
  };
  EXPECT_TRUE(status("data: " + std::string(990, 'x') + "\n\n").ok());
  EXPECT_FALSE(status(std::string(1001, ':')).ok());
  std::string lines;
  for (int i = 0; i < 200; ++i) lines += "data: 0123456789\n";
  const Status many = status(lines);
  ASSERT_FALSE(many.ok());
  EXPECT_EQ(many.error().kind, ErrorKind::too_large);
}

TEST(EventStream, WhatTheReceiverSaysEndsIt) {
  EventStreamParser parser(1000);
  int seen = 0;
  const Status ended = parser.feed("data: a\n\ndata: b\n\n", [&](const StreamEvent&) -> Status {
    ++seen;
    return Error(ErrorKind::conflict, "enough");
  });
  EXPECT_FALSE(ended.ok());
  EXPECT_EQ(seen, 1);
}

}  // namespace
}  // namespace thaw::http
