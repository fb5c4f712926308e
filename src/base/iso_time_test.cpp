#include "base/iso_time.h"

#include <gtest/gtest.h>

namespace thaw {
namespace {

constexpr std::int64_t kNoonUs = 1'769'860'800'000'000;  // date -u -d 2026-01-31T12:00:00 +%s

TEST(IsoTime, TheSameMomentInEveryFormIsTheSame) {
  for (const char* text :
       {"2026-01-31T12:00:00Z", "2026-01-31 12:00:00", "2026-01-31T12:00", "2026-01-31 12:00:00.000 UTC",
        "2026-01-31T13:00:00+01:00", "2026-01-31T13:00:00+0100", "2026-01-31 13:00:00+01", "2026-01-31T06:30:00-05:30",
        "2026-02-01T02:00:00+14:00", "2026-01-31t12:00:00z"}) {
    EXPECT_EQ(parse_iso_time_us(text), kNoonUs) << text;
  }
}

TEST(IsoTime, FractionsAreMicroseconds) {
  EXPECT_EQ(parse_iso_time_us("2026-01-31T12:00:00.5Z"), kNoonUs + 500'000);
  EXPECT_EQ(parse_iso_time_us("2026-01-31T12:00:00.123456789Z"), kNoonUs + 123'456);
  EXPECT_EQ(parse_iso_time_us("2026-01-31T12:00:00,000001"), kNoonUs + 1);
}

TEST(IsoTime, TheHourThatDaylightSavingRepeatsIsTwoHoursByItsOffset) {
  const auto summer = parse_iso_time_us("2026-10-25T02:30:00+02:00");
  const auto winter = parse_iso_time_us("2026-10-25T02:30:00+01:00");
  ASSERT_TRUE(summer && winter);
  EXPECT_EQ(*winter - *summer, 3600LL * 1'000'000);
}

TEST(IsoTime, WhatIsNoTimeIsRefused) {
  for (const char* text :
       {"", "now", "2026-02-29", "2026-13-01", "2026-01-31T", "2026-01-31T24:00:00", "26-01-31", "2026-01-31T12:60",
        "2026-01-31T12:00:61", "2026-01-31T12:00:00.", "2026-01-31T12:00:00 Europe/Berlin", "2026-01-31T12:00:00+1",
        "2026-01-31T12:00:00+01:0", "0000-01-01", "2026-01-31T12:00:00ZZ", "31/01/2026", "1769860800"}) {
    EXPECT_EQ(parse_iso_time_us(text), std::nullopt) << text;
  }
}

TEST(IsoTime, WhatIsWrittenIsReadAgain) {
  EXPECT_EQ(format_iso_time_us(kNoonUs), "2026-01-31T12:00:00Z");
  EXPECT_EQ(format_iso_time_us(kNoonUs + 1000), "2026-01-31T12:00:00.001Z");
  EXPECT_EQ(format_iso_time_us(kNoonUs + 1), "2026-01-31T12:00:00.000001Z");
  EXPECT_EQ(format_iso_time_us(-1), "1969-12-31T23:59:59.999999Z");
  for (const std::int64_t time_us : {std::int64_t{0}, std::int64_t{-62'135'596'800'000'000}, kNoonUs + 123'456})
    EXPECT_EQ(parse_iso_time_us(format_iso_time_us(time_us)), time_us);
}

}  // namespace
}  // namespace thaw
