// Where a feature view's rows come from: a CSV file, or a table or query of SQLite or PostgreSQL. The words are
// Feast's.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::features {

inline constexpr std::size_t kSourceTextBytesMax = 4096;  // of a path, URL or name
inline constexpr std::size_t kSourceQueryBytesMax = 64 << 10;

enum class SourceKind : std::uint8_t { csv, sqlite, postgres };

struct Source {
  SourceKind kind = SourceKind::csv;
  std::string path;   // of csv and sqlite: absolute, or below the daemon's folder of offline data
  std::string url;    // of postgres, as libpq takes it
  std::string table;  // of sqlite and postgres: this, or a query
  std::string query;
  std::string timestamp_field = "event_timestamp";
  std::string created_timestamp_field;  // empty: there is none
  // What a number in a time field counts.
  std::int64_t timestamp_unit_us = 1'000'000;
  // A column of the source -> the entity key or feature that it is. Others are called as in the source.
  std::map<std::string, std::string, std::less<>> field_mapping;

  bool operator==(const Source&) const = default;
};

// "csv", "sqlite", "postgres".
std::string_view to_string(SourceKind kind);

// Of one view's [feature_view.source], as JSON or the same tables of TOML made JSON:
//
//   {"kind": "postgres", "url": "postgresql://me@db/shop", "table": "rides", "timestamp_field": "event_timestamp",
//    "created_timestamp_field": "created", "timestamp_unit": "s", "field_mapping": {"rate": "conv_rate"}}
//
// Errors: invalid_argument, naming the field.
Result<Source> source_from_json(const boost::json::object& object);
// It is read as the same source again.
boost::json::object to_json(const Source& source);
// The source's column of an entity key or feature.
std::string column_of(const Source& source, const std::string& field);

}  // namespace thaw::features
