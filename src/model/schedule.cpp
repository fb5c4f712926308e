#include "model/schedule.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <span>

namespace thaw::model {
namespace {

constexpr std::int64_t kDayS = 86400;
constexpr int kMinutesOfDay = 1440;
constexpr std::array<std::string_view, 12> kMonths{"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                                   "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
constexpr std::array<std::string_view, 7> kWeekdays{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};
// Beyond it nothing is worth waiting for, and sums stay far from 64 bits.
constexpr std::uint64_t kRateMax = 1'000'000;

// A field of cron: its name for messages, and what its numbers may be.
struct Field {
  std::string_view name;
  unsigned min;
  unsigned max;
  std::span<const std::string_view> names = {};  // of min, min + 1, …
};
constexpr Field kMinute{"minutes", 0, 59};
constexpr Field kHour{"hours", 0, 23};
constexpr Field kDay{"day-of-month", 1, 31};
constexpr Field kMonth{"month", 1, 12, kMonths};
constexpr Field kWeekday{"day-of-week", 1, 7, kWeekdays};
constexpr Field kYear{"year", 1970, 2199};

Error bad(const Field& field, std::string_view text) {
  std::string message = "the " + std::string(field.name) + " of a cron expression cannot be \"" + std::string(text) +
                        "\": numbers from " + std::to_string(field.min) + " to " + std::to_string(field.max);
  if (!field.names.empty())
    message += " or " + std::string(field.names.front()) + " to " + std::string(field.names.back());
  return invalid_argument(message + ", with , - * and /");
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || at != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::optional<unsigned> value_of(const Field& field, std::string_view text) {
  std::string upper(text.substr(0, 3));
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  const auto named = std::find(field.names.begin(), field.names.end(), upper);
  if (named != field.names.end() && text.size() == 3)
    return field.min + static_cast<unsigned>(named - field.names.begin());
  const auto value = number(text);
  if (!value || *value < field.min || *value > field.max) return std::nullopt;
  return static_cast<unsigned>(*value);
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (const std::string_view word : split(text, ' ')) {
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

// "*", "5", "MON-FRI", "*/15", "0/15", "8-17/2": each value of one item of a list.
template <class Set>
bool add_item(const Field& field, std::string_view item, Set&& set) {
  unsigned step = 1;
  const std::size_t slash = item.find('/');
  if (slash != std::string_view::npos) {
    const auto value = number(item.substr(slash + 1));
    if (!value || *value == 0 || *value > field.max) return false;
    step = static_cast<unsigned>(*value);
    item = item.substr(0, slash);
  }
  unsigned first = field.min;
  unsigned last = field.max;
  if (item != "*") {
    const std::size_t dash = item.find('-');
    const auto from = value_of(field, item.substr(0, dash));
    if (!from) return false;
    first = *from;
    if (dash != std::string_view::npos) {
      const auto to = value_of(field, item.substr(dash + 1));
      if (!to || *to < first) return false;
      last = *to;
    } else if (slash == std::string_view::npos) {
      last = first;
    }
  }
  for (unsigned value = first; value <= last; value += step) set(value);
  return true;
}

template <class Set>
Status add_list(const Field& field, std::string_view text, Set&& set) {
  for (const std::string_view item : split(text, ',')) {
    if (!add_item(field, item, set)) return bad(field, text);
  }
  return {};
}

std::string_view inside(std::string_view text, std::string_view name) {
  if (!text.starts_with(name) || !text.ends_with(')')) return {};
  return text.substr(name.size(), text.size() - name.size() - 1);
}

bool is_leap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

unsigned days_of(int year, unsigned month) {
  constexpr std::array<unsigned, 12> kDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return kDays[month - 1] + (month == 2 && is_leap(year) ? 1 : 0);
}

// The weekday (Monday to Friday) nearest to a day, within its month of `days`.
unsigned nearest_weekday(unsigned day, unsigned weekday, unsigned days) {
  if (weekday == 6) return day > 1 ? day - 1 : day + 2;
  if (weekday == 0) return day < days ? day + 1 : day - 2;
  return day;
}

}  // namespace

Result<Schedule> Schedule::parse(std::string_view text) {
  if (text.size() > kScheduleBytesMax)
    return invalid_argument("a schedule has at most " + std::to_string(kScheduleBytesMax) + " bytes");
  if (const std::string_view rate = inside(text, "rate("); !rate.empty()) return parse_rate(rate);
  if (const std::string_view cron = inside(text, "cron("); !cron.empty()) return parse_cron(cron);
  return invalid_argument("a schedule is rate(VALUE UNIT) or cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR)");
}

Result<Schedule> Schedule::parse_rate(std::string_view text) {
  const auto words = words_of(text);
  const auto value = words.size() == 2 ? number(words[0]) : std::nullopt;
  if (!value || *value == 0 || *value > kRateMax)
    return invalid_argument("a rate is rate(VALUE UNIT) with a value from 1 to " + std::to_string(kRateMax));
  constexpr std::pair<std::string_view, std::int64_t> kUnits[] = {{"minute", 60}, {"hour", 3600}, {"day", kDayS}};
  for (const auto& [unit, seconds] : kUnits) {
    const bool one = words[1] == unit;
    const bool many = words[1] == std::string(unit) + "s";
    if (!one && !many) continue;
    if (one != (*value == 1)) {
      return invalid_argument("the unit of a rate is \"" + std::string(unit) + "\" with the value 1, and \"" +
                              std::string(unit) + "s\" with others");
    }
    Schedule schedule;
    schedule.rate_s_ = static_cast<std::int64_t>(*value) * seconds;
    return schedule;
  }
  return invalid_argument("the unit of a rate is minute, minutes, hour, hours, day or days");
}

Result<Schedule> Schedule::parse_cron(std::string_view text) {
  const auto words = words_of(text);
  if (words.size() != 6) {
    return invalid_argument(
        "a cron expression has 6 fields: minutes, hours, day-of-month, month, day-of-week, year; "
        "this has " +
        std::to_string(words.size()));
  }
  Schedule schedule;
  RETURN_IF_ERROR(add_list(kMinute, words[0], [&](unsigned value) { schedule.minutes_.set(value); }));
  RETURN_IF_ERROR(add_list(kHour, words[1], [&](unsigned value) { schedule.hours_.set(value); }));
  RETURN_IF_ERROR(add_list(kMonth, words[3], [&](unsigned value) { schedule.months_.set(value); }));
  RETURN_IF_ERROR(add_list(kYear, words[5], [&](unsigned value) { schedule.years_.set(value - kYearMin); }));
  if ((words[2] == "?") == (words[4] == "?"))
    return invalid_argument("one of day-of-month and day-of-week must be ?, and the other one not");
  schedule.by_weekday_ = words[2] == "?";
  RETURN_IF_ERROR(schedule.by_weekday_ ? schedule.read_weekdays(words[4]) : schedule.read_days(words[2]));
  return schedule;
}

Status Schedule::read_days(std::string_view text) {
  for (const std::string_view item : split(text, ',')) {
    if (item == "L") {
      last_day_ = true;
    } else if (item == "LW") {
      last_weekday_of_month_ = true;
    } else if (item.ends_with('W')) {
      const auto day = value_of(kDay, item.substr(0, item.size() - 1));
      if (!day) return bad(kDay, text);
      nearest_weekday_.set(*day);
    } else if (!add_item(kDay, item, [&](unsigned value) { days_.set(value); })) {
      return bad(kDay, text);
    }
  }
  return {};
}

Status Schedule::read_weekdays(std::string_view text) {
  if (const std::size_t hash = text.find('#'); hash != std::string_view::npos) {
    const auto weekday = value_of(kWeekday, text.substr(0, hash));
    const auto which = number(text.substr(hash + 1));
    if (!weekday || !which || *which < 1 || *which > 5) return bad(kWeekday, text);
    nth_ = {*weekday - 1, static_cast<unsigned>(*which)};
    return {};
  }
  for (const std::string_view item : split(text, ',')) {
    if (item == "L") {
      weekdays_.set(6);
    } else if (item.ends_with('L') && item.size() > 1) {
      const auto weekday = value_of(kWeekday, item.substr(0, item.size() - 1));
      if (!weekday) return bad(kWeekday, text);
      last_of_weekday_.set(*weekday - 1);
    } else if (!add_item(kWeekday, item, [&](unsigned value) { weekdays_.set(value - 1); })) {
      return bad(kWeekday, text);
    }
  }
  return {};
}

// From days since 1970 to the civil date: "chrono-Compatible Low-Level Date Algorithms", Howard Hinnant.
Schedule::Day Schedule::day_of(std::int64_t days_since_1970) {
  const std::int64_t shifted = days_since_1970 + 719468;
  const std::int64_t era = shifted / 146097;
  const auto day_of_era = static_cast<unsigned>(shifted - era * 146097);
  const unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned shifted_month = (5 * day_of_year + 2) / 153;
  Day day{};
  day.day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
  day.month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  day.year = static_cast<int>(year_of_era) + static_cast<int>(era) * 400 + (day.month <= 2 ? 1 : 0);
  day.weekday = static_cast<unsigned>((days_since_1970 + 4) % 7);
  day.days = days_of(day.year, day.month);
  return day;
}

bool Schedule::is_on(const Day& day) const {
  if (day.year < kYearMin || day.year > kYearMax || !years_.test(static_cast<std::size_t>(day.year - kYearMin)) ||
      !months_.test(day.month))
    return false;
  if (by_weekday_) {
    if (nth_) return day.weekday == nth_->first && (day.day - 1) / 7 + 1 == nth_->second;
    return weekdays_.test(day.weekday) || (last_of_weekday_.test(day.weekday) && day.day + 7 > day.days);
  }
  if (days_.test(day.day) || (last_day_ && day.day == day.days)) return true;
  const auto weekday_at = [&](unsigned other) { return (day.weekday + 35 + other - day.day) % 7; };
  if (last_weekday_of_month_ && nearest_weekday(day.days, weekday_at(day.days), day.days) == day.day) return true;
  for (unsigned wanted = 1; wanted <= day.days && nearest_weekday_.any(); ++wanted) {
    if (nearest_weekday_.test(wanted) && nearest_weekday(wanted, weekday_at(wanted), day.days) == day.day) return true;
  }
  return false;
}

std::optional<int> Schedule::minute_from(int minute) const {
  for (; minute < kMinutesOfDay; ++minute) {
    if (hours_.test(static_cast<std::size_t>(minute / 60)) && minutes_.test(static_cast<std::size_t>(minute % 60)))
      return minute;
  }
  return std::nullopt;
}

std::optional<int> Schedule::minute_until(int minute) const {
  for (; minute >= 0; --minute) {
    if (hours_.test(static_cast<std::size_t>(minute / 60)) && minutes_.test(static_cast<std::size_t>(minute % 60)))
      return minute;
  }
  return std::nullopt;
}

std::optional<std::int64_t> Schedule::next(std::int64_t after_s, std::int64_t anchor_s) const {
  if (rate_s_ > 0) {
    if (after_s < anchor_s) return anchor_s + rate_s_;
    return anchor_s + ((after_s - anchor_s) / rate_s_ + 1) * rate_s_;
  }
  if (after_s < 0) after_s = -1;
  const std::int64_t from_s = (after_s / 60 + (after_s < 0 ? 0 : 1)) * 60;
  int minute = static_cast<int>(from_s % kDayS / 60);
  for (std::int64_t number = from_s / kDayS;; ++number, minute = 0) {
    const Day day = day_of(number);
    if (day.year > kYearMax) return std::nullopt;
    if (!is_on(day)) continue;
    if (const auto found = minute_from(minute)) return number * kDayS + *found * 60;
  }
}

std::optional<std::int64_t> Schedule::last(std::int64_t after_s, std::int64_t until_s, std::int64_t anchor_s) const {
  if (rate_s_ > 0) {
    const std::int64_t found = anchor_s + (until_s - anchor_s) / rate_s_ * rate_s_;
    if (until_s < anchor_s + rate_s_ || found <= after_s) return std::nullopt;
    return found;
  }
  int minute = static_cast<int>(until_s % kDayS / 60);
  for (std::int64_t number = until_s / kDayS; number >= 0 && (number + 1) * kDayS > after_s;
       --number, minute = kMinutesOfDay - 1) {
    if (!is_on(day_of(number))) continue;
    if (const auto found = minute_until(minute)) {
      const std::int64_t at = number * kDayS + *found * 60;
      if (at <= after_s) return std::nullopt;
      return at;
    }
  }
  return std::nullopt;
}

Status check(const ScheduleSpec& spec) {
  const auto is_name = [](std::string_view text, std::string_view others) {
    return std::all_of(text.begin(), text.end(), [&](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             others.find(c) != std::string_view::npos;
    });
  };
  if (spec.name.empty() || spec.name.size() > kScheduleNameBytesMax || !is_name(spec.name, ".-_")) {
    return invalid_argument("a schedule's name must have 1 to " + std::to_string(kScheduleNameBytesMax) +
                            " letters, digits, dots, - and _");
  }
  RETURN_IF_ERROR(Schedule::parse(spec.expression));
  if (spec.qualifier.size() > kScheduleQualifierBytesMax || !is_name(spec.qualifier, "-_$")) {
    return invalid_argument("a schedule's qualifier must be a version or an alias, at most " +
                            std::to_string(kScheduleQualifierBytesMax) + " bytes");
  }
  if (spec.input.empty()) return {};
  if (spec.input.size() > kScheduleInputBytesMax)
    return invalid_argument("a schedule's input must have at most " + std::to_string(kScheduleInputBytesMax) +
                            " bytes");
  boost::json::error_code code;
  boost::json::parse(spec.input, code);
  if (code) return invalid_argument("a schedule's input must be JSON: " + code.message());
  return {};
}

}  // namespace thaw::model
