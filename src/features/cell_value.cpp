#include "features/cell_value.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/base64.h"
#include "base/iso_time.h"

namespace thaw::features {
namespace {

namespace json = boost::json;
using model::FeatureScalar;
using model::FeatureValue;
using TableCell = ports::Cell;

// What fits an int64 is below 2^63, which a double has exactly.
constexpr double kInt64End = 9223372036854775808.0;

std::string shown(const TableCell& cell) {
  if (std::holds_alternative<std::monostate>(cell)) return "NULL";
  if (const auto* flag = std::get_if<bool>(&cell)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<std::int64_t>(&cell)) return std::to_string(*number);
  if (const auto* number = std::get_if<double>(&cell)) return std::to_string(*number);
  const std::string& text = std::get<std::string>(cell);
  return "\"" + text.substr(0, 40) + (text.size() > 40 ? "..." : "") + "\"";
}

Error is_no(const TableCell& cell, const std::string& what) { return invalid_argument(shown(cell) + " is no " + what); }

template <class Number>
std::optional<Number> parsed(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  Number number{};
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

std::string decimal(double number) {
  std::array<char, 64> text{};
  const auto [end, failed] = std::to_chars(text.data(), text.data() + text.size(), number);
  return {text.data(), end};
}

Result<bool> boolean_of(const TableCell& cell) {
  if (const auto* flag = std::get_if<bool>(&cell)) return *flag;
  if (const auto* number = std::get_if<std::int64_t>(&cell); number != nullptr && (*number == 0 || *number == 1))
    return *number == 1;
  if (const auto* text = std::get_if<std::string>(&cell)) {
    std::string lower = *text;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (lower == "true" || lower == "t" || lower == "1") return true;
    if (lower == "false" || lower == "f" || lower == "0") return false;
  }
  return is_no(cell, "boolean");
}

Result<std::int64_t> whole_of(const TableCell& cell, FeatureScalar scalar) {
  std::optional<std::int64_t> found;
  if (const auto* number = std::get_if<std::int64_t>(&cell)) found = *number;
  if (const auto* flag = std::get_if<bool>(&cell)) found = *flag ? 1 : 0;
  if (const auto* text = std::get_if<std::string>(&cell)) found = parsed<std::int64_t>(*text);
  // 3.0: what tools write for a whole number in a column with NULLs.
  std::optional<double> real;
  if (const auto* number = std::get_if<double>(&cell)) real = *number;
  if (const auto* text = std::get_if<std::string>(&cell); text != nullptr && !found) real = parsed<double>(*text);
  if (real && std::trunc(*real) == *real && *real >= -kInt64End && *real < kInt64End)
    found = static_cast<std::int64_t>(*real);
  if (!found) return is_no(cell, "whole number");
  if (scalar == FeatureScalar::int32 &&
      (*found < std::numeric_limits<std::int32_t>::min() || *found > std::numeric_limits<std::int32_t>::max()))
    return is_no(cell, "int32: it is too large");
  return *found;
}

Result<double> real_of(const TableCell& cell, FeatureScalar scalar) {
  std::optional<double> found;
  if (const auto* number = std::get_if<double>(&cell)) found = *number;
  if (const auto* number = std::get_if<std::int64_t>(&cell)) found = static_cast<double>(*number);
  if (const auto* flag = std::get_if<bool>(&cell)) found = *flag ? 1 : 0;
  if (const auto* text = std::get_if<std::string>(&cell)) found = parsed<double>(*text);
  if (!found) return is_no(cell, "number");
  if (scalar == FeatureScalar::float32) return static_cast<double>(static_cast<float>(*found));
  return *found;
}

Result<std::string> text_of(const TableCell& cell, FeatureScalar scalar, const CellRules& rules) {
  std::string text;
  if (const auto* given = std::get_if<std::string>(&cell)) {
    text = *given;
    if (scalar == FeatureScalar::bytes && rules.bytes_are_base64) {
      auto decoded = base64_decoded(text);
      if (!decoded) return is_no(cell, "base64, as bytes must be");
      text = std::move(*decoded);
    }
  } else if (scalar == FeatureScalar::bytes) {
    return is_no(cell, "bytes");
  } else if (const auto* number = std::get_if<double>(&cell)) {
    text = decimal(*number);
  } else {
    text = shown(cell);
  }
  if (text.size() > model::kFeatureValueBytesMax)
    return invalid_argument("it has more than " + std::to_string(model::kFeatureValueBytesMax) + " bytes");
  return text;
}

Result<std::int64_t> milliseconds_of(const TableCell& cell, const CellRules& rules) {
  ASSIGN_OR_RETURN(const std::optional<std::int64_t> time_us, time_of_cell(cell, rules.timestamp_unit_us));
  if (!time_us) return is_no(cell, "time");
  // Down, before 1970 too.
  return *time_us / 1000 - (*time_us % 1000 < 0 ? 1 : 0);
}

Result<FeatureValue> scalar_of(const TableCell& cell, FeatureScalar scalar, const CellRules& rules) {
  switch (scalar) {
    case FeatureScalar::boolean: {
      ASSIGN_OR_RETURN(const bool flag, boolean_of(cell));
      return FeatureValue(flag);
    }
    case FeatureScalar::int32:
    case FeatureScalar::int64: {
      ASSIGN_OR_RETURN(const std::int64_t number, whole_of(cell, scalar));
      return FeatureValue(number);
    }
    case FeatureScalar::float32:
    case FeatureScalar::float64: {
      ASSIGN_OR_RETURN(const double number, real_of(cell, scalar));
      return FeatureValue(number);
    }
    case FeatureScalar::string:
    case FeatureScalar::bytes: {
      ASSIGN_OR_RETURN(std::string text, text_of(cell, scalar, rules));
      return FeatureValue(std::move(text));
    }
    case FeatureScalar::unix_timestamp: {
      ASSIGN_OR_RETURN(const std::int64_t time_ms, milliseconds_of(cell, rules));
      return FeatureValue(time_ms);
    }
  }
  return internal_error("a feature of no type");
}

Result<TableCell> cell_of_json(const json::value& value) {
  if (value.is_bool()) return TableCell(value.get_bool());
  if (value.is_int64()) return TableCell(std::int64_t{value.get_int64()});
  if (value.is_double()) return TableCell(value.get_double());
  if (value.is_uint64()) return TableCell(static_cast<double>(value.get_uint64()));
  if (value.is_string()) return TableCell(std::string(value.get_string()));
  return invalid_argument("its elements must be numbers, strings or booleans");
}

template <class Element>
Result<FeatureValue> list_of(const json::array& array, FeatureScalar scalar, const CellRules& rules) {
  std::vector<Element> list;
  list.reserve(array.size());
  for (const json::value& element : array) {
    ASSIGN_OR_RETURN(const TableCell cell, cell_of_json(element));
    ASSIGN_OR_RETURN(FeatureValue value, scalar_of(cell, scalar, rules));
    list.push_back(std::move(std::get<Element>(value)));
  }
  return FeatureValue(std::move(list));
}

Result<FeatureValue> list_of_cell(const TableCell& cell, FeatureScalar scalar, CellRules rules) {
  const auto* text = std::get_if<std::string>(&cell);
  if (text == nullptr) return is_no(cell, "list: it is written as a JSON array");
  if (text->size() > model::kFeatureValueBytesMax * 4)
    return invalid_argument("its list has more than " + std::to_string(model::kFeatureValueBytesMax * 4) + " bytes");
  boost::system::error_code failed;
  const json::value value = json::parse(*text, failed);
  if (failed || !value.is_array()) return is_no(cell, "list: it is written as a JSON array");
  rules.bytes_are_base64 = true;
  const json::array& array = value.get_array();
  switch (scalar) {
    case FeatureScalar::boolean:
      return list_of<bool>(array, scalar, rules);
    case FeatureScalar::float32:
    case FeatureScalar::float64:
      return list_of<double>(array, scalar, rules);
    case FeatureScalar::string:
    case FeatureScalar::bytes:
      return list_of<std::string>(array, scalar, rules);
    default:
      return list_of<std::int64_t>(array, scalar, rules);
  }
}

}  // namespace

Result<FeatureValue> value_of_cell(const TableCell& cell, model::FeatureType type, const CellRules& rules) {
  if (std::holds_alternative<std::monostate>(cell)) return FeatureValue();
  return type.list ? list_of_cell(cell, type.scalar, rules) : scalar_of(cell, type.scalar, rules);
}

Result<std::optional<std::int64_t>> time_of_cell(const TableCell& cell, std::int64_t number_unit_us) {
  if (std::holds_alternative<std::monostate>(cell)) return std::optional<std::int64_t>();
  std::optional<std::int64_t> whole;
  std::optional<double> real;
  if (const auto* text = std::get_if<std::string>(&cell)) {
    if (const auto time_us = parse_iso_time_us(*text)) return time_us;
    whole = parsed<std::int64_t>(*text);
    if (!whole) real = parsed<double>(*text);
  }
  if (const auto* number = std::get_if<std::int64_t>(&cell)) whole = *number;
  if (const auto* number = std::get_if<double>(&cell)) real = *number;
  std::int64_t time_us = 0;
  if (whole && !__builtin_mul_overflow(*whole, number_unit_us, &time_us)) return std::optional(time_us);
  if (real && std::abs(*real * static_cast<double>(number_unit_us)) < kInt64End)
    return std::optional<std::int64_t>(std::llround(*real * static_cast<double>(number_unit_us)));
  return is_no(cell, "time: ISO 8601, like 2026-01-31T12:00:00+01:00, or a number");
}

namespace {

std::string text_of_number(std::int64_t number, FeatureScalar scalar) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max() / 1000;
  if (scalar == FeatureScalar::unix_timestamp && number < kMax && number > -kMax)
    return format_iso_time_us(number * 1000);
  return std::to_string(number);
}

json::value json_of(std::int64_t number, FeatureScalar scalar) {
  if (scalar == FeatureScalar::unix_timestamp) return json::string(text_of_number(number, scalar));
  return number;
}
json::value json_of(const std::string& text, FeatureScalar scalar) {
  return json::string(scalar == FeatureScalar::bytes ? base64_encoded(text) : text);
}
json::value json_of(double number, FeatureScalar) { return number; }
json::value json_of(bool flag, FeatureScalar) { return flag; }

}  // namespace

std::optional<std::string> text_of_value(const FeatureValue& value, model::FeatureType type) {
  return std::visit(
      [&](const auto& held) -> std::optional<std::string> {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, std::monostate>) {
          return std::nullopt;
        } else if constexpr (std::is_same_v<Held, bool>) {
          return held ? "true" : "false";
        } else if constexpr (std::is_same_v<Held, std::int64_t>) {
          return text_of_number(held, type.scalar);
        } else if constexpr (std::is_same_v<Held, double>) {
          // The shortest text of its width.
          if (type.scalar != FeatureScalar::float32) return decimal(held);
          std::array<char, 64> text{};
          return std::string(text.data(),
                             std::to_chars(text.data(), text.data() + text.size(), static_cast<float>(held)).ptr);
        } else if constexpr (std::is_same_v<Held, std::string>) {
          return type.scalar == FeatureScalar::bytes ? base64_encoded(held) : held;
        } else {
          json::array array;
          for (const auto& element : held)
            array.push_back(json_of(static_cast<typename Held::value_type>(element), type.scalar));
          return json::serialize(array);
        }
      },
      value);
}

}  // namespace thaw::features
