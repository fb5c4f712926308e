#include "features/source_rows.h"

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cmath>

#include "base/iso_time.h"

namespace thaw::features {
namespace {

namespace json = boost::json;
using model::FeatureScalar;

json::value json_of(bool flag, FeatureScalar) { return flag; }
json::value json_of(std::int64_t number, FeatureScalar scalar) {
  if (scalar == FeatureScalar::unix_timestamp) return json::string(format_iso_time_us(number * 1000));
  return number;
}
json::value json_of(double number, FeatureScalar) {
  if (std::isfinite(number)) return number;
  return json::string(std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
}
json::value json_of(const std::string& text, FeatureScalar scalar) {
  if (scalar != FeatureScalar::bytes) return json::string(text);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string digits = "\\x";
  for (const char byte : text) {
    const auto number = static_cast<unsigned char>(byte);
    digits += kDigits[number >> 4U];
    digits += kDigits[number & 15U];
  }
  return json::string(digits);
}

json::value json_of_value(const model::FeatureValue& value, FeatureScalar scalar) {
  return std::visit(
      [&](const auto& held) -> json::value {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, std::monostate>) {
          return nullptr;
        } else if constexpr (std::is_arithmetic_v<Held> || std::is_same_v<Held, std::string>) {
          return json_of(held, scalar);
        } else {
          json::array array;
          for (const auto& element : held)
            array.push_back(json_of(static_cast<typename Held::value_type>(element), scalar));
          return array;
        }
      },
      value);
}

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Result<SourceRows> source_rows(const FeatureView& view, std::span<const FeatureRow> rows) {
  const Source& source = *view.source;
  const bool has_bytes = std::any_of(view.features.begin(), view.features.end(), [](const model::FeatureField& field) {
    return field.type.scalar == FeatureScalar::bytes;
  });
  if (has_bytes && source.kind != SourceKind::postgres)
    return invalid_argument("to: rows with bytes are pushed to PostgreSQL alone, and the source of the feature view " +
                            view.name + " is another");
  SourceRows appended;
  for (const EntityKey& entity : view.entities) appended.columns.push_back(column_of(source, entity.name));
  for (const model::FeatureField& field : view.features) appended.columns.push_back(column_of(source, field.name));
  appended.columns.push_back(source.timestamp_field);
  if (!source.created_timestamp_field.empty()) appended.columns.push_back(source.created_timestamp_field);
  json::array all;
  for (const FeatureRow& row : rows) {
    json::object object;
    std::size_t at = 0;
    for (std::size_t i = 0; i < row.entities.size(); ++i)
      object[appended.columns[at++]] = json_of_value(row.entities[i], view.entities[i].type.scalar);
    for (std::size_t i = 0; i < row.values.size(); ++i)
      object[appended.columns[at++]] = json_of_value(row.values[i], view.features[i].type.scalar);
    object[appended.columns[at++]] = format_iso_time_us(row.event_ms * 1000);
    if (at < appended.columns.size())
      object[appended.columns[at]] = format_iso_time_us((row.created_ms == 0 ? now_ms() : row.created_ms) * 1000);
    all.push_back(std::move(object));
  }
  appended.json = json::serialize(all);
  return appended;
}

}  // namespace thaw::features
