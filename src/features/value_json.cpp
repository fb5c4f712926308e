#include "features/value_json.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "base/base64.h"
#include "features/definitions.h"

namespace thaw::features {
namespace {

namespace json = boost::json;
using model::FeatureScalar;
using model::FeatureType;
using model::FeatureValue;

constexpr double kWholeMax = 9007199254740992.0;  // 2^53: beyond it a double may be a rounded number
// Of times, either way from 1970: the years that their text has four digits for, and no more.
constexpr std::int64_t kTimeMsMin = -62135596800000;  // 0001-01-01
constexpr std::int64_t kTimeMsMax = 253402300799999;  // 9999-12-31

Error not_of(std::string_view what) { return invalid_argument("must be " + std::string(what)); }

Result<std::int64_t> int_from(const json::value& value) {
  if (const auto* number = value.if_int64()) return *number;
  // Columns of whole numbers with a hole in them are floats to their writers.
  if (const auto* number = value.if_double()) {
    if (std::trunc(*number) == *number && std::fabs(*number) <= kWholeMax) return static_cast<std::int64_t>(*number);
  }
  return not_of("a whole number of at most 64 bits");
}

Result<double> float_from(const json::value& value) {
  if (const auto* number = value.if_double()) return *number;
  if (const auto* number = value.if_int64()) return static_cast<double>(*number);
  if (const auto* number = value.if_uint64()) return static_cast<double>(*number);
  if (const auto* text = value.if_string()) {
    if (*text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (*text == "Infinity") return std::numeric_limits<double>::infinity();
    if (*text == "-Infinity") return -std::numeric_limits<double>::infinity();
  }
  return not_of("a number");
}

Result<std::string> text_from(const json::value& value, FeatureScalar scalar) {
  const auto* text = value.if_string();
  if (scalar == FeatureScalar::string) {
    if (text == nullptr) return not_of("a string");
    return std::string(std::string_view(*text));
  }
  auto bytes = text == nullptr ? std::nullopt : base64_decoded(std::string_view(*text));
  if (!bytes) return not_of("bytes in base64");
  return std::move(*bytes);
}

Result<std::int64_t> integer_from(const json::value& value, FeatureScalar scalar) {
  if (scalar == FeatureScalar::unix_timestamp) return time_from_json(value);
  ASSIGN_OR_RETURN(const std::int64_t number, int_from(value));
  if (scalar == FeatureScalar::int32 &&
      (number < std::numeric_limits<std::int32_t>::min() || number > std::numeric_limits<std::int32_t>::max()))
    return not_of("a whole number of at most 32 bits");
  return number;
}

Result<double> floating_from(const json::value& value, FeatureScalar scalar) {
  ASSIGN_OR_RETURN(const double number, float_from(value));
  return scalar == FeatureScalar::float32 ? double{static_cast<float>(number)} : number;
}

template <class One, class From>
Result<FeatureValue> list_from(const json::array& items, From from) {
  std::vector<One> list;
  list.reserve(items.size());
  for (const json::value& item : items) {
    auto one = from(item);
    if (!one.ok()) return invalid_argument("an item of the array " + one.error().message);
    list.push_back(std::move(*one));
  }
  return FeatureValue(std::move(list));
}

Result<FeatureValue> array_from(const json::value& value, FeatureScalar scalar) {
  if (!value.is_array()) return not_of("an array");
  const json::array& items = value.get_array();
  if (items.size() > model::kFeatureValueBytesMax)
    return not_of("an array of at most " + std::to_string(model::kFeatureValueBytesMax) + " items");
  switch (scalar) {
    case FeatureScalar::boolean:
      return list_from<bool>(items, [](const json::value& item) -> Result<bool> {
        if (!item.is_bool()) return not_of("true or false");
        return item.get_bool();
      });
    case FeatureScalar::float32:
    case FeatureScalar::float64:
      return list_from<double>(items, [&](const json::value& item) -> Result<double> {
        if (item.is_null()) return std::numeric_limits<double>::quiet_NaN();
        return floating_from(item, scalar);
      });
    case FeatureScalar::string:
    case FeatureScalar::bytes:
      return list_from<std::string>(items, [&](const json::value& item) { return text_from(item, scalar); });
    default:
      return list_from<std::int64_t>(items, [&](const json::value& item) { return integer_from(item, scalar); });
  }
}

template <class Number>
Result<FeatureValue> wrapped(Result<Number> number) {
  if (!number.ok()) return std::move(number).error();
  return FeatureValue(std::move(*number));
}

// Digits of a fixed count, taken off the text.
std::optional<int> digits(std::string_view& text, std::size_t count) {
  if (text.size() < count) return std::nullopt;
  int number = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    number = 10 * number + (text[i] - '0');
  }
  text.remove_prefix(count);
  return number;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

// Days since 1970 in the proleptic Gregorian calendar ("chrono-Compatible Low-Level Date Algorithms").
std::int64_t days_of(int year, int month, int day) {
  const std::int64_t y = month <= 2 ? year - 1 : year;
  const std::int64_t era = (y >= 0 ? y : y - 399) / 400;
  const std::int64_t of_era = y - era * 400;
  const std::int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

struct Date {
  int year, month, day;
};

Date date_of(std::int64_t days) {
  days += 719468;
  const std::int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const std::int64_t of_era = days - era * 146097;
  const std::int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  const std::int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t shifted = (5 * of_year + 2) / 153;
  const int day = static_cast<int>(of_year - (153 * shifted + 2) / 5 + 1);
  const int month = static_cast<int>(shifted < 10 ? shifted + 3 : shifted - 9);
  return {static_cast<int>(year_of_era + era * 400 + (month <= 2 ? 1 : 0)), month, day};
}

int days_in(int year, int month) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return kDays[month - 1] + (month == 2 && leap ? 1 : 0);
}

// "HH:MM[:SS[.fraction]]" taken off the text, in milliseconds.
std::optional<std::int64_t> clock_of(std::string_view& text) {
  const auto hour = digits(text, 2);
  if (!hour || *hour > 23 || !take(text, ':')) return std::nullopt;
  const auto minute = digits(text, 2);
  if (!minute || *minute > 59) return std::nullopt;
  std::int64_t ms = (*hour * 60LL + *minute) * 60000;
  if (!take(text, ':')) return ms;
  const auto second = digits(text, 2);
  if (!second || *second > 59) return std::nullopt;
  ms += *second * 1000LL;
  if (!take(text, '.')) return ms;
  int scale = 100;
  std::size_t count = 0;
  while (const auto digit = digits(text, 1)) {
    if (++count > 9) return std::nullopt;
    ms += *digit * scale;
    scale /= 10;
  }
  return count == 0 ? std::nullopt : std::optional(ms);
}

// What is to be subtracted for a zone "Z", "+01:00", "+0100", "+01", or none.
std::optional<std::int64_t> zone_of(std::string_view text) {
  if (text.empty() || text == "Z" || text == "z") return 0;
  if (text.front() != '+' && text.front() != '-') return std::nullopt;
  const std::int64_t sign = text.front() == '-' ? -1 : 1;
  text.remove_prefix(1);
  const auto hours = digits(text, 2);
  if (!hours || *hours > 23) return std::nullopt;
  int minutes = 0;
  if (!text.empty()) {
    take(text, ':');
    const auto given = digits(text, 2);
    if (!given || *given > 59) return std::nullopt;
    minutes = *given;
  }
  if (!text.empty()) return std::nullopt;
  return sign * (*hours * 60LL + minutes) * 60000;
}

void append_two(std::string& out, int number) {
  out += static_cast<char>('0' + number / 10);
  out += static_cast<char>('0' + number % 10);
}

void append_int(std::string& out, std::int64_t number) {
  char text[24];
  const auto [end, error] = std::to_chars(text, text + sizeof text, number);
  out.append(text, end);
}

// The shortest text that reads as the same number of its width; with a point or exponent, so that it reads as a float.
template <class Float>
void append_float(std::string& out, Float number) {
  if (std::isnan(number)) {
    out += "\"NaN\"";
  } else if (std::isinf(number)) {
    out += number > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  } else {
    char text[48];
    const auto [end, error] = std::to_chars(text, text + sizeof text, number);
    const std::string_view written(text, static_cast<std::size_t>(end - text));
    out += written;
    if (written.find_first_of(".e") == std::string_view::npos) out += ".0";
  }
}

void append_seconds(std::string& out, std::int64_t ms) {
  if (ms % 1000 == 0) return append_int(out, ms / 1000);
  append_float(out, static_cast<double>(ms) / 1000);
}

struct ValueWriter {
  std::string& out;
  FeatureScalar scalar;

  void operator()(std::monostate) const { out += "null"; }
  void operator()(bool value) const { out += value ? "true" : "false"; }
  void operator()(std::int64_t value) const {
    scalar == FeatureScalar::unix_timestamp ? append_seconds(out, value) : append_int(out, value);
  }
  void operator()(double value) const {
    scalar == FeatureScalar::float32 ? append_float(out, static_cast<float>(value)) : append_float(out, value);
  }
  void operator()(const std::string& value) const {
    append_quoted(out, scalar == FeatureScalar::bytes ? base64_encoded(value) : value);
  }
  template <class One>
  void operator()(const std::vector<One>& list) const {
    out += '[';
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (i > 0) out += ',';
      const One one = list[i];
      (*this)(one);
    }
    out += ']';
  }
};

}  // namespace

Result<FeatureValue> value_from_json(const json::value& value, FeatureType type) {
  if (value.is_null()) return FeatureValue();
  if (type.list) return array_from(value, type.scalar);
  switch (type.scalar) {
    case FeatureScalar::boolean:
      if (!value.is_bool()) return not_of("true or false");
      return FeatureValue(value.get_bool());
    case FeatureScalar::float32:
    case FeatureScalar::float64:
      return wrapped(floating_from(value, type.scalar));
    case FeatureScalar::string:
    case FeatureScalar::bytes:
      return wrapped(text_from(value, type.scalar));
    default:
      return wrapped(integer_from(value, type.scalar));
  }
}

Result<std::int64_t> time_from_text(std::string_view text) {
  const Error wrong = invalid_argument("must be a time like 2026-01-31T12:00:00Z");
  const auto year = digits(text, 4);
  if (!year || *year < 1 || !take(text, '-')) return wrong;
  const auto month = digits(text, 2);
  if (!month || *month < 1 || *month > 12 || !take(text, '-')) return wrong;
  const auto day = digits(text, 2);
  if (!day || *day < 1 || *day > days_in(*year, *month)) return wrong;
  std::int64_t ms = days_of(*year, *month, *day) * 86'400'000;
  if (text.empty()) return ms;
  if (!take(text, 'T') && !take(text, ' ')) return wrong;
  const auto clock = clock_of(text);
  if (!clock) return wrong;
  const auto zone = zone_of(text);
  if (!zone) return wrong;
  ms += *clock - *zone;
  if (ms < kTimeMsMin || ms > kTimeMsMax) return wrong;
  return ms;
}

Result<std::int64_t> time_from_json(const json::value& value) {
  if (const auto* text = value.if_string()) return time_from_text(std::string_view(*text));
  const auto seconds = float_from(value);
  const double ms = seconds.ok() ? std::round(*seconds * 1000) : std::numeric_limits<double>::quiet_NaN();
  // Not a number compares false.
  if (!(ms >= static_cast<double>(kTimeMsMin) && ms <= static_cast<double>(kTimeMsMax)))
    return not_of("a time like 2026-01-31T12:00:00Z, or a number of seconds since 1970");
  return static_cast<std::int64_t>(ms);
}

void append_value(std::string& out, const FeatureValue& value, FeatureType type) {
  std::visit(ValueWriter{out, type.scalar}, value);
}

void append_quoted(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  std::size_t from = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, from, i - from);
    from = i + 1;
    out += '\\';
    if (c == '"' || c == '\\') {
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += 'n';
    } else {
      out += "u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    }
  }
  out.append(text, from);
  out += '"';
}

void append_time(std::string& out, std::int64_t ms) {
  // What has no four digits of a year is shown at the end of those that have.
  ms = std::min(std::max(ms, kTimeMsMin), kTimeMsMax);
  std::int64_t days = ms / 86'400'000;
  std::int64_t of_day = ms % 86'400'000;
  if (of_day < 0) {
    of_day += 86'400'000;
    --days;
  }
  const Date date = date_of(days);
  out += '"';
  append_two(out, date.year / 100);
  append_two(out, date.year % 100);
  out += '-';
  append_two(out, date.month);
  out += '-';
  append_two(out, date.day);
  out += 'T';
  append_two(out, static_cast<int>(of_day / 3'600'000));
  out += ':';
  append_two(out, static_cast<int>(of_day / 60'000 % 60));
  out += ':';
  append_two(out, static_cast<int>(of_day / 1000 % 60));
  if (const int fraction = static_cast<int>(of_day % 1000); fraction != 0) {
    out += '.';
    out += static_cast<char>('0' + fraction / 100);
    append_two(out, fraction % 100);
  }
  out += "Z\"";
}

}  // namespace thaw::features
