// CSV (RFC 4180) as it is written.
#pragma once

#include <optional>
#include <string>

namespace thaw {

// One field behind what the line holds: in quotes where that is needed. Nothing is an empty field, an empty text "".
inline void append_csv_field(std::string& line, const std::optional<std::string>& field) {
  if (!field) return;
  if (!field->empty() && field->find_first_of(",\"\r\n") == std::string::npos) {
    line += *field;
    return;
  }
  line += '"';
  for (const char byte : *field) line.append(byte == '"' ? 2 : 1, byte);
  line += '"';
}

}  // namespace thaw
