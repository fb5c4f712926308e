#include "events/queued_event.h"

#include <gtest/gtest.h>

namespace thaw::events {
namespace {

QueuedEvent sample() {
  return {.function = "Greet",
          .qualifier = "live",
          .function_arn = "arn:aws:lambda:us-east-1:000000000000:function:Greet:live",
          .client_context = R"({"client":"\"x\""})",
          .trace_id = "Root=1-2",
          .chain = 3,
          .payload = "{\"a\":\n\"line\"}\n"};
}

TEST(QueuedEvent, ComesBackAsItWas) {
  const auto decoded = decode_queued_event(encode_queued_event(sample()));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(*decoded, sample());
  QueuedEvent record = sample();
  record.kind = QueuedEvent::Kind::deliver;
  record.target = "https://example.com/\"";
  const auto again = decode_queued_event(encode_queued_event(record));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*again, record);
}

TEST(QueuedEvent, TheLargestHasRoomInTheQueue) {
  QueuedEvent event = sample();
  event.payload.assign(kEventPayloadBytesMax, ' ');
  event.client_context.assign(3583, '"');
  event.trace_id.assign(4096, '\\');
  const std::string stored = encode_queued_event(event);
  EXPECT_LE(stored.size(), kEventPayloadBytesMax + kEventLineBytesMax);
  EXPECT_TRUE(decode_queued_event(stored).ok());
}

TEST(QueuedEvent, DamageIsFound) {
  const std::string stored = encode_queued_event(sample());
  for (const std::string& damaged :
       {std::string(), stored.substr(0, 20), stored.substr(0, stored.size() - 1), stored + "x",
        std::string("{\"v\":2}\n"), std::string("[]\n"), std::string("\n"), std::string(100'000, '{')}) {
    const auto decoded = decode_queued_event(damaged);
    ASSERT_FALSE(decoded.ok()) << damaged.substr(0, 100);
    EXPECT_EQ(decoded.error().kind, ErrorKind::corrupt);
  }
}

TEST(QueuedEvent, ALaneIsTheNameWithoutRegardToCase) { EXPECT_EQ(lane_of({.function = "Greet-2"}), "greet-2"); }

TEST(QueuedEvent, RecordsHaveALaneForEachTarget) {
  const auto lane = [](const std::string& target) {
    return lane_of({.kind = QueuedEvent::Kind::deliver, .function = "f", .target = target});
  };
  EXPECT_EQ(lane("s3://bucket"), "to s3://bucket");
  EXPECT_EQ(lane("https://" + std::string(340, 'x')).size(), 128U);
}

}  // namespace
}  // namespace thaw::events
