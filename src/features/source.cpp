#include "features/source.h"

#include <array>
#include <boost/json.hpp>
#include <utility>

namespace thaw::features {
namespace {

namespace json = boost::json;

constexpr std::array<std::pair<std::string_view, SourceKind>, 3> kKinds = {
    {{"csv", SourceKind::csv}, {"sqlite", SourceKind::sqlite}, {"postgres", SourceKind::postgres}}};
constexpr std::array<std::pair<std::string_view, std::int64_t>, 3> kUnits = {
    {{"s", 1'000'000}, {"ms", 1'000}, {"us", 1}}};

Error wrong(std::string_view field, const std::string& what) {
  return invalid_argument("source." + std::string(field) + " " + what);
}

Result<std::string> text_of(std::string_view field, const json::value& value, std::size_t bytes_max) {
  if (!value.is_string()) return wrong(field, "must be a string");
  const std::string text(value.get_string());
  if (text.empty() || text.size() > bytes_max)
    return wrong(field, "must have 1 to " + std::to_string(bytes_max) + " bytes");
  if (text.find('\0') != std::string::npos) return wrong(field, "must have no zero byte");
  return text;
}

Status take_mapping(const json::value& value, Source& source) {
  if (!value.is_object()) return wrong("field_mapping", "must be a table of column = \"feature\"");
  for (const auto& [column, field] : value.get_object()) {
    ASSIGN_OR_RETURN(std::string name, text_of("field_mapping." + std::string(column), field, kSourceTextBytesMax));
    source.field_mapping.emplace(column, std::move(name));
  }
  return {};
}

Status take_field(std::string_view key, const json::value& value, Source& source) {
  if (key == "field_mapping") return take_mapping(value, source);
  ASSIGN_OR_RETURN(std::string text, text_of(key, value, key == "query" ? kSourceQueryBytesMax : kSourceTextBytesMax));
  if (key == "kind") {
    for (const auto& [name, kind] : kKinds) {
      if (name != text) continue;
      source.kind = kind;
      return {};
    }
    return wrong(key, "must be csv, sqlite or postgres, not \"" + text.substr(0, 100) + "\"");
  }
  if (key == "timestamp_unit") {
    for (const auto& [name, unit_us] : kUnits) {
      if (name != text) continue;
      source.timestamp_unit_us = unit_us;
      return {};
    }
    return wrong(key, "must be s, ms or us");
  }
  const std::array<std::pair<std::string_view, std::string Source::*>, 6> texts = {
      {{"path", &Source::path},
       {"url", &Source::url},
       {"table", &Source::table},
       {"query", &Source::query},
       {"timestamp_field", &Source::timestamp_field},
       {"created_timestamp_field", &Source::created_timestamp_field}}};
  for (const auto& [name, member] : texts) {
    if (name != key) continue;
    source.*member = std::move(text);
    return {};
  }
  return wrong(key.substr(0, 100),
               "is not known: there are kind, path, url, table, query, timestamp_field, created_timestamp_field, "
               "timestamp_unit and field_mapping");
}

Status check(const Source& source) {
  const std::string kind(to_string(source.kind));
  const bool file = source.kind != SourceKind::postgres;
  if (file && source.path.empty()) return wrong("path", "is missing: a " + kind + " source needs it");
  if (!file && source.url.empty()) return wrong("url", "is missing: a postgres source needs it");
  if (file && !source.url.empty()) return wrong("url", "is for postgres alone, this source is " + kind);
  if (!file && !source.path.empty()) return wrong("path", "is for csv and sqlite, this source is postgres");
  const bool sql = source.kind != SourceKind::csv;
  if (sql && source.table.empty() == source.query.empty())
    return wrong("table", "or source.query: a " + kind + " source needs one of them");
  if (!sql && !(source.table.empty() && source.query.empty()))
    return wrong("table", "and source.query are for sqlite and postgres, this source is csv");
  return {};
}

}  // namespace

std::string_view to_string(SourceKind kind) { return kKinds[static_cast<std::size_t>(kind)].first; }

Result<Source> source_from_json(const json::object& given) {
  Source source;
  if (!given.contains("kind")) return wrong("kind", "is missing: it is csv, sqlite or postgres");
  for (const auto& [key, field] : given) RETURN_IF_ERROR(take_field(key, field, source));
  RETURN_IF_ERROR(check(source));
  return source;
}

json::object to_json(const Source& source) {
  json::object object{{"kind", to_string(source.kind)}};
  const auto put = [&](std::string_view name, const std::string& text) {
    if (!text.empty()) object[name] = text;
  };
  put("path", source.path);
  put("url", source.url);
  put("table", source.table);
  put("query", source.query);
  put("timestamp_field", source.timestamp_field);
  put("created_timestamp_field", source.created_timestamp_field);
  for (const auto& [name, unit_us] : kUnits)
    if (unit_us == source.timestamp_unit_us) object["timestamp_unit"] = name;
  json::object mapping;
  for (const auto& [column, field] : source.field_mapping) mapping[column] = field;
  if (!mapping.empty()) object["field_mapping"] = std::move(mapping);
  return object;
}

std::string column_of(const Source& source, const std::string& field) {
  for (const auto& [column, name] : source.field_mapping)
    if (name == field) return column;
  return field;
}

}  // namespace thaw::features
