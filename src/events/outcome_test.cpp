#include "events/outcome.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace thaw::events {
namespace {

namespace json = boost::json;

QueuedEvent sample() {
  return {.function = "greet",
          .function_arn = "arn:aws:lambda:us-east-1:000000000000:function:greet",
          .payload = R"({"name":"Ada"})"};
}

EventResult failed() {
  EventResult result;
  result.function_error = "Unhandled";
  result.payload = R"({"errorType":"Oops"})";
  result.executed_version = "$LATEST";
  return result;
}

// The example of Lambda's documentation.
TEST(Outcome, TheRecordIsLambdas) {
  const QueuedEvent event = sample();
  const EventResult result = failed();
  const std::string record = destination_record(
      {.event = event, .request_id = "id", .condition = Condition::retries_exhausted, .attempts = 3, .result = &result},
      "2019-11-14T18:16:05.568Z");
  EXPECT_EQ(json::parse(record), json::parse(R"({
      "version": "1.0",
      "timestamp": "2019-11-14T18:16:05.568Z",
      "requestContext": {
          "requestId": "id",
          "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:greet:$LATEST",
          "condition": "RetriesExhausted",
          "approximateInvokeCount": 3
      },
      "requestPayload": {"name": "Ada"},
      "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
      "responsePayload": {"errorType": "Oops"}
  })"));
}

TEST(Outcome, AnAnswerThatIsNoJsonIsAString) {
  const QueuedEvent event = sample();
  EventResult result;
  for (const auto& [payload, expected] :
       {std::pair<std::string, json::value>{"not \"json\"", "not \"json\""}, {"", nullptr}, {"[1]", json::array{1}}}) {
    result.payload = payload;
    const json::value record =
        json::parse(destination_record({.event = event, .request_id = "id", .result = &result}, "t"));
    EXPECT_EQ(record.at("responsePayload"), expected);
    EXPECT_FALSE(record.at("responseContext").as_object().contains("functionError"));
  }
}

TEST(Outcome, AnEventThatWasTooOldHasNoResponse) {
  const QueuedEvent event = sample();
  const json::value record = json::parse(
      destination_record({.event = event, .request_id = "id", .condition = Condition::event_age_exceeded}, "t"));
  EXPECT_EQ(record.at("requestContext").at("condition"), "EventAgeExceeded");
  EXPECT_FALSE(record.as_object().contains("responsePayload"));
}

TEST(Outcome, ARecordThatIsTooLargeGoesWithoutTheResponse) {
  const QueuedEvent event = sample();
  EventResult result;
  result.payload = "\"" + std::string(kRecordBytesMax, 'x') + "\"";
  const std::string record = destination_record({.event = event, .request_id = "id", .result = &result}, "t");
  EXPECT_LT(record.size(), 1000U);
  EXPECT_EQ(json::parse(record).at("responseContext").at("statusCode"), 200);
}

TEST(Outcome, TheSideThatFitsGetsTheRecord) {
  const QueuedEvent event = sample();
  const EventResult result = failed();
  Ending ending{.event = event, .request_id = "id", .attempts = 1, .result = &result};
  const model::EventInvokeConfig config{.on_success = "s3://good", .on_failure = "https://bad/"};
  auto next = follow_ups(ending, config);
  ASSERT_TRUE(next.ok());
  ASSERT_EQ(next->size(), 1U);
  EXPECT_EQ(next->front().id, "id:success");
  ending.condition = Condition::retries_exhausted;
  next = follow_ups(ending, config);
  ASSERT_TRUE(next.ok());
  ASSERT_EQ(next->size(), 1U);
  EXPECT_EQ(next->front().id, "id:failure");
  const auto record = decode_queued_event(next->front().body);
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->kind, QueuedEvent::Kind::deliver);
  EXPECT_EQ(record->target, "https://bad/");
  EXPECT_EQ(record->function, "greet");
  EXPECT_TRUE(follow_ups(ending, {.on_success = "s3://good"})->empty());
}

TEST(Outcome, AFunctionGetsItAsAnEventUntilTheChainIsTooLong) {
  QueuedEvent event = sample();
  const model::EventInvokeConfig config{.on_success = "arn:aws:lambda:us-east-1:000000000000:function:next:live"};
  for (event.chain = 0; event.chain < kChainMax; ++event.chain) {
    const auto next = follow_ups({.event = event, .request_id = "id"}, config);
    ASSERT_TRUE(next.ok()) << next.error().message;
    const auto invoke = decode_queued_event(next->front().body);
    ASSERT_TRUE(invoke.ok());
    EXPECT_EQ(invoke->kind, QueuedEvent::Kind::invoke);
    EXPECT_EQ(invoke->function, "next");
    EXPECT_EQ(invoke->qualifier, "live");
    EXPECT_EQ(invoke->chain, event.chain + 1);
    EXPECT_EQ(next->front().lane, "next");
    EXPECT_NE(next->front().id, "id");
  }
  const auto next = follow_ups({.event = event, .request_id = "id"}, config);
  ASSERT_FALSE(next.ok());
  EXPECT_THAT(next.error().message, testing::HasSubstr("loop"));
}

}  // namespace
}  // namespace thaw::events
