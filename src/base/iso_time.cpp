#include "base/iso_time.h"

#include <charconv>
#include <chrono>
#include <cstdio>

namespace thaw {
namespace {

constexpr std::int64_t kSecondUs = 1'000'000;
constexpr std::int64_t kDayUs = 86'400 * kSecondUs;

// What is left of a text that is read from the left.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  bool at_end() const { return rest_.empty(); }
  bool take(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  // A number of exactly so many digits.
  std::optional<int> number(std::size_t digits) {
    int value = 0;
    if (rest_.size() < digits || count_digits() < digits) return std::nullopt;
    std::from_chars(rest_.data(), rest_.data() + digits, value);
    rest_.remove_prefix(digits);
    return value;
  }
  std::size_t count_digits() const {
    std::size_t count = 0;
    while (count < rest_.size() && rest_[count] >= '0' && rest_[count] <= '9') ++count;
    return count;
  }
  // Digits of a fraction of a second; all are taken.
  std::optional<std::int64_t> fraction_us() {
    const std::size_t count = count_digits();
    if (count == 0) return std::nullopt;
    std::int64_t value = 0;
    for (std::size_t i = 0; i < 6; ++i) value = value * 10 + (i < count ? rest_[i] - '0' : 0);
    rest_.remove_prefix(count);
    return value;
  }

 private:
  std::string_view rest_;
};

std::optional<std::int64_t> day_us(Reader& reader) {
  const auto year = reader.number(4);
  if (!year || *year == 0 || !reader.take("-")) return std::nullopt;
  const auto month = reader.number(2);
  if (!month || !reader.take("-")) return std::nullopt;
  const auto day = reader.number(2);
  if (!day) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days(date).time_since_epoch().count() * kDayUs;
}

std::optional<std::int64_t> time_of_day_us(Reader& reader) {
  const auto hour = reader.number(2);
  if (!hour || *hour > 23 || !reader.take(":")) return std::nullopt;
  const auto minute = reader.number(2);
  if (!minute || *minute > 59) return std::nullopt;
  std::int64_t time_us = (*hour * 60 + *minute) * 60 * kSecondUs;
  if (!reader.take(":")) return time_us;
  const auto second = reader.number(2);
  if (!second || *second > 60) return std::nullopt;
  time_us += *second * kSecondUs;
  if (!reader.take(".") && !reader.take(",")) return time_us;
  const auto fraction_us = reader.fraction_us();
  if (!fraction_us) return std::nullopt;
  return time_us + *fraction_us;
}

// East of Greenwich is positive.
std::optional<std::int64_t> offset_us(Reader& reader) {
  (void)reader.take(" ");
  if (reader.at_end() || reader.take("Z") || reader.take("z") || reader.take("UTC")) return 0;
  const bool west = reader.take("-");
  if (!west && !reader.take("+")) return std::nullopt;
  const auto hours = reader.number(2);
  if (!hours || *hours > 23) return std::nullopt;
  int minutes = 0;
  if (reader.take(":") || !reader.at_end()) {
    const auto given = reader.number(2);
    if (!given || *given > 59) return std::nullopt;
    minutes = *given;
  }
  const std::int64_t offset = (*hours * 60 + minutes) * 60 * kSecondUs;
  return west ? -offset : offset;
}

}  // namespace

std::optional<std::int64_t> parse_iso_time_us(std::string_view text) {
  Reader reader(text);
  const auto day = day_us(reader);
  if (!day || reader.at_end()) return day;
  if (!reader.take("T") && !reader.take("t") && !reader.take(" ")) return std::nullopt;
  const auto time = time_of_day_us(reader);
  if (!time) return std::nullopt;
  const auto offset = offset_us(reader);
  if (!offset || !reader.at_end()) return std::nullopt;
  return *day + *time - *offset;
}

std::string format_iso_time_us(std::int64_t time_us) {
  namespace chrono = std::chrono;
  const chrono::sys_time<chrono::microseconds> time{chrono::microseconds(time_us)};
  const auto day = chrono::floor<chrono::days>(time);
  const chrono::year_month_day date(day);
  const chrono::hh_mm_ss clock(time - day);
  char text[64];
  int length = std::snprintf(text, sizeof(text), "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                             static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                             static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                             static_cast<int>(clock.seconds().count()));
  const int fraction = static_cast<int>(clock.subseconds().count());
  char* const end = text + length;
  const std::size_t room = sizeof(text) - static_cast<std::size_t>(length);
  if (fraction % 1000 != 0) {
    length += std::snprintf(end, room, ".%06d", fraction);
  } else if (fraction != 0) {
    length += std::snprintf(end, room, ".%03d", fraction / 1000);
  }
  return std::string(text, static_cast<std::size_t>(length)) + "Z";
}

}  // namespace thaw
