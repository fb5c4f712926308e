#include "model/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <string>

namespace thaw::model {
namespace {

std::int64_t at(const char* text) {
  std::tm utc{};
  if (::strptime(text, "%Y-%m-%d %H:%M:%S", &utc) == nullptr) ADD_FAILURE() << text;
  return ::timegm(&utc);
}

std::string shown(std::optional<std::int64_t> seconds) {
  if (!seconds) return "never";
  const std::time_t time = *seconds;
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  char text[64];
  std::strftime(text, sizeof(text), "%a %Y-%m-%d %H:%M:%S", &utc);
  return text;
}

Schedule parsed(const std::string& text) {
  auto schedule = Schedule::parse(text);
  if (!schedule.ok()) {
    ADD_FAILURE() << text << ": " << schedule.error().message;
    return *Schedule::parse("rate(1 minute)");
  }
  return *schedule;
}

// The times behind a moment, one after another.
std::string times(const std::string& text, const char* after, int count) {
  const Schedule schedule = parsed(text);
  std::string all;
  std::int64_t now = at(after);
  for (int i = 0; i < count; ++i) {
    const auto found = schedule.next(now, 0);
    all += (i > 0 ? ", " : "") + shown(found);
    if (!found) break;
    now = *found;
  }
  return all;
}

// The examples of EventBridge's documentation.
TEST(Schedule, AmazonsExamplesOfCron) {
  EXPECT_EQ(times("cron(0 10 * * ? *)", "2026-01-31 11:00:00", 2), "Sun 2026-02-01 10:00:00, Mon 2026-02-02 10:00:00");
  EXPECT_EQ(times("cron(15 12 * * ? *)", "2026-01-01 00:00:00", 1), "Thu 2026-01-01 12:15:00");
  EXPECT_EQ(times("cron(0 18 ? * MON-FRI *)", "2026-01-02 18:00:00", 2),
            "Mon 2026-01-05 18:00:00, Tue 2026-01-06 18:00:00");
  EXPECT_EQ(times("cron(0 8 1 * ? *)", "2026-01-01 08:00:00", 2), "Sun 2026-02-01 08:00:00, Sun 2026-03-01 08:00:00");
  EXPECT_EQ(times("cron(0/15 * * * ? *)", "2026-01-01 00:44:59", 2),
            "Thu 2026-01-01 00:45:00, Thu 2026-01-01 01:00:00");
  EXPECT_EQ(times("cron(0/10 * ? * MON-FRI *)", "2026-01-02 23:50:00", 1), "Mon 2026-01-05 00:00:00");
  EXPECT_EQ(times("cron(0/5 8-17 ? * MON-FRI *)", "2026-01-02 17:50:00", 2),
            "Fri 2026-01-02 17:55:00, Mon 2026-01-05 08:00:00");
  EXPECT_EQ(times("cron(0 9 ? * 2#1 *)", "2026-01-01 00:00:00", 2), "Mon 2026-01-05 09:00:00, Mon 2026-02-02 09:00:00");
  EXPECT_EQ(times("cron(0 0 3W * ? *)", "2026-01-01 00:00:00", 2), "Fri 2026-01-02 00:00:00, Tue 2026-02-03 00:00:00")
      << "the weekday closest to the third";
  EXPECT_EQ(times("cron(0 0 ? * 3#2 *)", "2026-01-01 00:00:00", 1), "Tue 2026-01-13 00:00:00")
      << "the second Tuesday of the month";
  EXPECT_EQ(times("cron(15 10 ? * 6L 2019-2022)", "2019-01-01 00:00:00", 1), "Fri 2019-01-25 10:15:00")
      << "the last Friday of each month";
  EXPECT_EQ(times("cron(0/30 20-23,0-2 ? * FRI,SAT *)", "2026-01-02 23:30:00", 2),
            "Sat 2026-01-03 00:00:00, Sat 2026-01-03 00:30:00");
}

TEST(Schedule, LastDaysAndNearestWeekdays) {
  EXPECT_EQ(times("cron(0 0 L * ? *)", "2028-01-31 00:00:00", 2), "Tue 2028-02-29 00:00:00, Fri 2028-03-31 00:00:00");
  EXPECT_EQ(times("cron(0 0 LW * ? *)", "2026-01-01 00:00:00", 3),
            "Fri 2026-01-30 00:00:00, Fri 2026-02-27 00:00:00, Tue 2026-03-31 00:00:00");
  EXPECT_EQ(times("cron(0 0 1W * ? *)", "2026-07-15 00:00:00", 2), "Mon 2026-08-03 00:00:00, Tue 2026-09-01 00:00:00")
      << "not in the month before";
  EXPECT_EQ(times("cron(0 0 31W * ? *)", "2026-05-01 00:00:00", 2), "Fri 2026-05-29 00:00:00, Fri 2026-07-31 00:00:00")
      << "months without a 31st are passed over";
  EXPECT_EQ(times("cron(0 0 ? * L *)", "2026-01-01 00:00:00", 2), "Sat 2026-01-03 00:00:00, Sat 2026-01-10 00:00:00");
  EXPECT_EQ(times("cron(0 0 ? * 6#5 *)", "2026-01-01 00:00:00", 2), "Fri 2026-01-30 00:00:00, Fri 2026-05-29 00:00:00");
}

TEST(Schedule, YearsEnd) {
  EXPECT_EQ(times("cron(0 0 1 1 ? 2027)", "2026-01-01 00:00:00", 2), "Fri 2027-01-01 00:00:00, never");
  EXPECT_EQ(times("cron(0 0 30 2 ? *)", "2026-01-01 00:00:00", 1), "never");
  EXPECT_EQ(times("cron(0 0 29 FEB ? *)", "2096-03-01 00:00:00", 1), "Fri 2104-02-29 00:00:00");
  EXPECT_EQ(times("cron(59 23 31 12 ? 2199)", "2026-01-01 00:00:00", 2), "Tue 2199-12-31 23:59:00, never");
}

TEST(Schedule, RatesCountFromWhenTheyWereMade) {
  const Schedule five = parsed("rate(5 minutes)");
  EXPECT_EQ(five.next(1000, 1000), 1300);
  EXPECT_EQ(five.next(1299, 1000), 1300);
  EXPECT_EQ(five.next(1300, 1000), 1600);
  EXPECT_EQ(five.next(0, 1000), 1300);
  EXPECT_EQ(parsed("rate(1 hour)").next(0, 0), 3600);
  EXPECT_EQ(parsed("rate(7 days)").next(0, 0), 7 * 86400);
  EXPECT_EQ(five.last(1300, 2000, 1000), 1900);
  EXPECT_EQ(five.last(1900, 2000, 1000), std::nullopt);
  EXPECT_EQ(five.last(0, 1299, 1000), std::nullopt);
  EXPECT_EQ(five.last(0, 900, 1000), std::nullopt);
}

TEST(Schedule, TheLastTimeIsFoundAsTheNextOnesWouldBe) {
  for (const char* text : {"cron(0 10 * * ? *)", "cron(0/7 8-17 ? * MON-FRI *)", "cron(0 0 LW * ? *)",
                           "cron(30 4 ? FEB 6#3 *)", "cron(0 0 1 1 ? 2027)"}) {
    const Schedule schedule = parsed(text);
    const std::int64_t begin = at("2026-01-01 00:00:00");
    for (std::int64_t until = begin; until < begin + 400 * 86400; until += 86400 * 3 + 3661) {
      std::optional<std::int64_t> expected;
      for (auto next = schedule.next(begin, 0); next && *next <= until; next = schedule.next(*next, 0)) expected = next;
      EXPECT_EQ(schedule.last(begin, until, 0), expected) << text << " until " << shown(until);
    }
  }
}

TEST(Schedule, WhatIsWrongIsNamed) {
  for (const auto& [text, what] : std::vector<std::pair<std::string, std::string>>{
           {"", "rate(VALUE UNIT) or cron("},
           {"every 5 minutes", "rate(VALUE UNIT) or cron("},
           {"rate()", "rate(VALUE UNIT)"},
           {"rate(0 minutes)", "from 1 to"},
           {"rate(5 minute)", "\"minutes\" with others"},
           {"rate(1 hours)", "\"hour\" with the value 1"},
           {"rate(5 seconds)", "minute, minutes"},
           {"rate(99999999999999999999 days)", "from 1 to"},
           {"rate(-1 days)", "from 1 to"},
           {"cron(0 10 * * ?)", "6 fields"},
           {"cron(0 10 * * ? * *)", "this has 7"},
           {"cron(60 10 * * ? *)", "minutes of a cron expression cannot be \"60\""},
           {"cron(0 24 * * ? *)", "hours"},
           {"cron(0 10 0 * ? *)", "day-of-month"},
           {"cron(0 10 32W * ? *)", "day-of-month"},
           {"cron(0 10 * 13 ? *)", "1 to 12 or JAN to DEC"},
           {"cron(0 10 ? * 8 *)", "1 to 7 or SUN to SAT"},
           {"cron(0 10 ? * 3#6 *)", "day-of-week"},
           {"cron(0 10 ? * 3#1,6#3 *)", "day-of-week"},
           {"cron(0 10 * * * *)", "must be ?"},
           {"cron(0 10 ? * ? *)", "must be ?"},
           {"cron(0 10 * * ? 1969)", "year"},
           {"cron(*/0 10 * * ? *)", "minutes"},
           {"cron(5-1 10 * * ? *)", "minutes"},
           {"cron(1, 10 * * ? *)", "minutes"},
           {"cron(? 10 * * ? *)", "minutes"},
           {"rate(" + std::string(300, '1') + " days)", "at most 256 bytes"},
       }) {
    const auto schedule = Schedule::parse(text);
    ASSERT_FALSE(schedule.ok()) << text;
    EXPECT_EQ(schedule.error().kind, ErrorKind::invalid_argument);
    EXPECT_THAT(schedule.error().message, testing::HasSubstr(what)) << text;
  }
}

TEST(Schedule, NamesMayBeLowerCase) {
  EXPECT_EQ(times("cron(0 0 ? jan mon-wed *)", "2026-01-01 00:00:00", 1), "Mon 2026-01-05 00:00:00");
}

}  // namespace
}  // namespace thaw::model
