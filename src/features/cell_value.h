// Cells of tables as values of features.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "model/feature.h"
#include "ports/table_reader.h"

namespace thaw::features {

struct CellRules {
  // What a number in a time's cell counts.
  std::int64_t timestamp_unit_us = 1'000'000;
  // Text of a bytes feature is base64: CSV has no other way to write bytes.
  bool bytes_are_base64 = false;
};

// NULL is no value, whatever the type. Text is read as the type: numbers in decimal, booleans as true, false, t, f, 1
// or 0, times as ISO 8601 (without a zone they are UTC) or a number, lists as a JSON array. Errors: invalid_argument,
// which says what the cell is and what it should be, for a message that names its place in front.
Result<model::FeatureValue> value_of_cell(const ports::Cell& cell, model::FeatureType type, const CellRules& rules);

// Microseconds since 1970; nothing for NULL. Errors: invalid_argument, as above.
Result<std::optional<std::int64_t>> time_of_cell(const ports::Cell& cell, std::int64_t number_unit_us);

// What value_of_cell() reads as the value again, with bytes as base64; nothing for no value.
std::optional<std::string> text_of_value(const model::FeatureValue& value, model::FeatureType type);

}  // namespace thaw::features
