#include "batch_timetable.h"

#include <gtest/gtest.h>

namespace thaw::cli {
namespace {

TEST(BatchTimetable, ARateCountsFromItsStart) {
  BatchTimetable times(*model::Schedule::parse("rate(1 hour)"), 1000);
  EXPECT_EQ(times.next_s(), 4600);
  EXPECT_FALSE(times.take_due(4599));
  EXPECT_TRUE(times.take_due(4600));
  EXPECT_EQ(times.next_s(), 8200);
  EXPECT_FALSE(times.take_due(4600));
}

TEST(BatchTimetable, TimesThatCameTogetherAreOne) {
  BatchTimetable times(*model::Schedule::parse("rate(1 hour)"), 0);
  EXPECT_TRUE(times.take_due(5 * 3600 + 30));
  EXPECT_FALSE(times.take_due(5 * 3600 + 31));
  EXPECT_EQ(times.next_s(), 6 * 3600);
}

TEST(BatchTimetable, EndsWithTheSchedule) {
  BatchTimetable times(*model::Schedule::parse("cron(0 0 1 1 ? 1971)"), 0);
  EXPECT_EQ(times.next_s(), 365 * 86400);
  EXPECT_TRUE(times.take_due(365 * 86400));
  EXPECT_EQ(times.next_s(), std::nullopt);
  EXPECT_FALSE(times.take_due(366 * 86400));
}

TEST(BatchTimetable, NamesFilesByTheirTime) {
  EXPECT_EQ(utc_text(1769860800), "2026-01-31T12:00:00Z");
  EXPECT_EQ(with_time("a-{time}.jsonl", 1769860800), "a-20260131T120000Z.jsonl");
  EXPECT_EQ(with_time("{time}{time}", 0), "19700101T000000Z19700101T000000Z");
  EXPECT_EQ(with_time("plain", 0), "plain");
}

}  // namespace
}  // namespace thaw::cli
