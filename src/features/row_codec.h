// All features of one entity in one view, as the value of an online store's row (docs/formats/features.md).
//
//   +--------+-------+------------------------------+----------------------------+
//   | 1, 0×3 | n u32 | n × (id u64, end u32)        | n values, one behind another |
//   +--------+-------+------------------------------+----------------------------+
//
// Little-endian. The ids rise; end is where a value ends, counted from the first value's begin. An id is made of the
// feature's name and type, so that a row is read by views that have more, fewer or other features than the one that it
// was written by. A value is one byte, 0 for null, else 1 and the value behind it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/feature.h"

namespace thaw::features {

std::uint64_t feature_id(const model::FeatureField& field);

// A feature in a list of features, by its id.
struct FeatureSlot {
  std::uint64_t id = 0;
  std::uint32_t at = 0;  // its place in the list
  model::FeatureType type;
};

// Sorted by id.
std::vector<FeatureSlot> feature_slots(std::span<const model::FeatureField> fields);

// slots: of all features of the view; values: one for each, by FeatureSlot::at. Errors: invalid_argument says what is
// wrong and at which place ("2: …"), too_large.
Result<std::string> encode_row(std::span<const FeatureSlot> slots, std::span<const model::FeatureValue> values);

// How one value of a row turned out.
enum class CellState : std::uint8_t { absent, null, present };

struct Cell {
  CellState state = CellState::absent;
  model::FeatureValue value;
};

// slots: of what is asked for, sorted by id; cells: where they go, by FeatureSlot::at. Cells that the row lacks are
// left as they are. Returns the bytes of the values taken. Errors: corrupt.
Result<std::size_t> decode_row(std::string_view row, std::span<const FeatureSlot> slots, std::span<Cell> cells);

}  // namespace thaw::features
