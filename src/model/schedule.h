// When something runs: rate(…) and cron(…) as EventBridge has them ("Setting a schedule pattern for scheduled rules",
// Amazon EventBridge User Guide).
//
//   rate(VALUE minute|minutes|hour|hours|day|days)
//   cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR)
//
// Minutes 0-59, hours 0-23, days 1-31, months 1-12 or JAN-DEC, days of the week 1-7 or SUN-SAT, years 1970-2199. All
// take "*", lists with ",", ranges with "-" and steps with "/". One of the two days is "?". A day of the month may be
// "L" (the last), "LW" (the last weekday) or "15W" (the weekday nearest to the 15th, in the same month); a day of the
// week "L" (Saturday), "6L" (the month's last Friday) or "6#3" (its third). Seconds do not count: cron is UTC's.
//
// Ownership: plain values. Threads: any. Errors: invalid_argument, naming the field and what it may be.
#pragma once

#include <bitset>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::model {

inline constexpr std::size_t kScheduleBytesMax = 256;

class Schedule {
 public:
  static Result<Schedule> parse(std::string_view text);

  // The first time behind `after_s`, seconds since 1970; nothing when there is none any more. anchor_s: what a rate
  // counts from, when it was made; its first time is one period behind that.
  std::optional<std::int64_t> next(std::int64_t after_s, std::int64_t anchor_s) const;
  // The last time up to `until_s` and behind `after_s`.
  std::optional<std::int64_t> last(std::int64_t after_s, std::int64_t until_s, std::int64_t anchor_s) const;

 private:
  static constexpr int kYearMin = 1970;
  static constexpr int kYearMax = 2199;
  struct Day {
    int year;
    unsigned month;  // 1-12
    unsigned day;
    unsigned weekday;  // 0 is Sunday
    unsigned days;     // of the month
  };

  static Result<Schedule> parse_rate(std::string_view text);
  static Result<Schedule> parse_cron(std::string_view text);
  Status read_days(std::string_view text);
  Status read_weekdays(std::string_view text);
  static Day day_of(std::int64_t days_since_1970);
  bool is_on(const Day& day) const;
  // Of a day, at or behind the minute; nothing when there is none.
  std::optional<int> minute_from(int minute) const;
  std::optional<int> minute_until(int minute) const;

  std::int64_t rate_s_ = 0;  // 0: cron
  std::bitset<60> minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;
  std::bitset<13> months_;
  std::bitset<7> weekdays_;
  std::bitset<kYearMax - kYearMin + 1> years_;
  bool by_weekday_ = false;
  bool last_day_ = false;
  bool last_weekday_of_month_ = false;                // "LW"
  std::bitset<32> nearest_weekday_;                   // "15W"
  std::bitset<7> last_of_weekday_;                    // "6L"
  std::optional<std::pair<unsigned, unsigned>> nth_;  // "6#3": weekday from 0, which one
};

inline constexpr std::size_t kScheduleNameBytesMax = 64;
inline constexpr std::size_t kScheduleInputBytesMax = 8192;  // EventBridge's limit of a target's input
inline constexpr std::size_t kScheduleQualifierBytesMax = 128;

// A schedule of a function, as thaw.toml's [[schedules]] and the API give it.
struct ScheduleSpec {
  std::string name;        // [A-Za-z0-9._-]+; one of the function's
  std::string expression;  // what Schedule::parse takes
  std::string qualifier;   // of the function; empty: $LATEST
  std::string input;       // JSON, the event that the function gets; empty: EventBridge's Scheduled Event
  bool enabled = true;

  bool operator==(const ScheduleSpec&) const = default;
};

// Errors: invalid_argument, naming the member.
Status check(const ScheduleSpec& spec);
// The stored form. Errors: corrupt.
boost::json::object to_json(const ScheduleSpec& spec);
Result<ScheduleSpec> schedule_from_json(const boost::json::object& object);

}  // namespace thaw::model
