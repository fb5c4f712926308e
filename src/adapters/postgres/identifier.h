// Names as PostgreSQL takes them in a statement.
#pragma once

#include <string>
#include <string_view>

namespace thaw::adapters {

inline std::string postgres_identifier(std::string_view name) {
  std::string text = "\"";
  for (const char byte : name) text.append(byte == '"' ? 2 : 1, byte);
  return text + '"';
}

// schema.name is two names.
inline std::string postgres_table_name(std::string_view table) {
  const std::size_t dot = table.find('.');
  if (dot == std::string_view::npos) return postgres_identifier(table);
  return postgres_identifier(table.substr(0, dot)) + "." + postgres_identifier(table.substr(dot + 1));
}

}  // namespace thaw::adapters
