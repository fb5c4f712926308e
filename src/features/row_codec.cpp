#include "features/row_codec.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include "features/definitions.h"

namespace thaw::features {
namespace {

using model::FeatureScalar;
using model::FeatureType;
using model::FeatureValue;

static_assert(std::endian::native == std::endian::little, "rows are written as the machine has its numbers");

constexpr char kFormat = 1;
constexpr std::size_t kHeadBytes = 8;
constexpr std::size_t kEntryBytes = 12;  // of the table
constexpr char kNull = 0;
constexpr char kPresent = 1;

Error damaged() { return {ErrorKind::corrupt, "a row of features is damaged"}; }

template <class Number>
void put(std::string& out, Number number) {
  char bytes[sizeof number];
  std::memcpy(bytes, &number, sizeof number);
  out.append(bytes, sizeof number);
}

template <class Number>
void put_at(std::string& out, std::size_t at, Number number) {
  std::memcpy(out.data() + at, &number, sizeof number);
}

template <class Number>
Number get(std::string_view bytes, std::size_t at) {
  Number number;
  std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

bool is_int(FeatureScalar scalar) {
  return scalar == FeatureScalar::int32 || scalar == FeatureScalar::int64 || scalar == FeatureScalar::unix_timestamp;
}
bool is_float(FeatureScalar scalar) { return scalar == FeatureScalar::float32 || scalar == FeatureScalar::float64; }
bool is_text(FeatureScalar scalar) { return scalar == FeatureScalar::string || scalar == FeatureScalar::bytes; }

bool fits_int(FeatureScalar scalar, std::int64_t number) {
  return scalar != FeatureScalar::int32 ||
         (number >= std::numeric_limits<std::int32_t>::min() && number <= std::numeric_limits<std::int32_t>::max());
}

void put_int(std::string& out, FeatureScalar scalar, std::int64_t number) {
  scalar == FeatureScalar::int32 ? put(out, static_cast<std::int32_t>(number)) : put(out, number);
}
void put_float(std::string& out, FeatureScalar scalar, double number) {
  scalar == FeatureScalar::float32 ? put(out, static_cast<float>(number)) : put(out, number);
}

bool put_list(std::string& out, FeatureScalar scalar, const FeatureValue& value) {
  if (const auto* booleans = std::get_if<std::vector<bool>>(&value); booleans && scalar == FeatureScalar::boolean) {
    for (const bool one : *booleans) out += static_cast<char>(one);
    return true;
  }
  if (const auto* ints = std::get_if<std::vector<std::int64_t>>(&value); ints && is_int(scalar)) {
    for (const std::int64_t one : *ints) {
      if (!fits_int(scalar, one)) return false;
      put_int(out, scalar, one);
    }
    return true;
  }
  if (const auto* floats = std::get_if<std::vector<double>>(&value); floats && is_float(scalar)) {
    for (const double one : *floats) put_float(out, scalar, one);
    return true;
  }
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value); texts && is_text(scalar)) {
    for (const std::string& one : *texts) {
      put(out, static_cast<std::uint32_t>(one.size()));
      out += one;
    }
    return true;
  }
  return false;
}

// False when the value is of another type.
bool put_value(std::string& out, FeatureType type, const FeatureValue& value) {
  if (type.list) return put_list(out, type.scalar, value);
  if (const auto* boolean = std::get_if<bool>(&value); boolean && type.scalar == FeatureScalar::boolean) {
    out += static_cast<char>(*boolean);
    return true;
  }
  if (const auto* number = std::get_if<std::int64_t>(&value); number && is_int(type.scalar)) {
    if (!fits_int(type.scalar, *number)) return false;
    put_int(out, type.scalar, *number);
    return true;
  }
  if (const auto* number = std::get_if<double>(&value); number && is_float(type.scalar)) {
    put_float(out, type.scalar, *number);
    return true;
  }
  if (const auto* text = std::get_if<std::string>(&value); text && is_text(type.scalar)) {
    out += *text;
    return true;
  }
  return false;
}

std::size_t width_of(FeatureScalar scalar) {
  if (scalar == FeatureScalar::boolean) return 1;
  return scalar == FeatureScalar::int32 || scalar == FeatureScalar::float32 ? 4 : 8;
}

std::int64_t get_int(FeatureScalar scalar, std::string_view bytes, std::size_t at) {
  return scalar == FeatureScalar::int32 ? get<std::int32_t>(bytes, at) : get<std::int64_t>(bytes, at);
}
double get_float(FeatureScalar scalar, std::string_view bytes, std::size_t at) {
  return scalar == FeatureScalar::float32 ? double{get<float>(bytes, at)} : get<double>(bytes, at);
}

bool get_list(FeatureScalar scalar, std::string_view bytes, FeatureValue& value) {
  if (is_text(scalar)) {
    std::vector<std::string> texts;
    while (!bytes.empty()) {
      if (bytes.size() < 4) return false;
      const auto length = get<std::uint32_t>(bytes, 0);
      bytes.remove_prefix(4);
      if (bytes.size() < length) return false;
      texts.emplace_back(bytes.substr(0, length));
      bytes.remove_prefix(length);
    }
    value = std::move(texts);
    return true;
  }
  const std::size_t width = width_of(scalar);
  if (bytes.size() % width != 0) return false;
  const std::size_t count = bytes.size() / width;
  if (scalar == FeatureScalar::boolean) {
    std::vector<bool> booleans;
    for (const char c : bytes) booleans.push_back(c != 0);
    value = std::move(booleans);
  } else if (is_float(scalar)) {
    std::vector<double> floats(count);
    for (std::size_t i = 0; i < count; ++i) floats[i] = get_float(scalar, bytes, i * width);
    value = std::move(floats);
  } else {
    std::vector<std::int64_t> ints(count);
    for (std::size_t i = 0; i < count; ++i) ints[i] = get_int(scalar, bytes, i * width);
    value = std::move(ints);
  }
  return true;
}

bool get_value(FeatureType type, std::string_view bytes, FeatureValue& value) {
  if (type.list) return get_list(type.scalar, bytes, value);
  if (is_text(type.scalar)) {
    value.emplace<std::string>(bytes);
    return true;
  }
  if (bytes.size() != width_of(type.scalar)) return false;
  if (type.scalar == FeatureScalar::boolean) {
    value = bytes[0] != 0;
  } else if (is_float(type.scalar)) {
    value = get_float(type.scalar, bytes, 0);
  } else {
    value = get_int(type.scalar, bytes, 0);
  }
  return true;
}

}  // namespace

std::uint64_t feature_id(const model::FeatureField& field) {
  // FNV-1a ("The FNV Non-Cryptographic Hash Algorithm", RFC 9923), of the name, a newline and the type.
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  const std::string text = field.name + "\n" + type_name(field.type);
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

std::vector<FeatureSlot> feature_slots(std::span<const model::FeatureField> fields) {
  std::vector<FeatureSlot> slots;
  for (std::size_t i = 0; i < fields.size(); ++i)
    slots.push_back({feature_id(fields[i]), static_cast<std::uint32_t>(i), fields[i].type});
  std::sort(slots.begin(), slots.end(), [](const FeatureSlot& a, const FeatureSlot& b) { return a.id < b.id; });
  return slots;
}

Result<std::string> encode_row(std::span<const FeatureSlot> slots, std::span<const FeatureValue> values) {
  if (values.size() != slots.size())
    return invalid_argument("a row must have " + std::to_string(slots.size()) + " values");
  std::string row{kFormat, 0, 0, 0};
  put(row, static_cast<std::uint32_t>(slots.size()));
  row.resize(kHeadBytes + kEntryBytes * slots.size());
  const std::size_t values_begin = row.size();
  std::size_t entry = kHeadBytes;
  for (const FeatureSlot& slot : slots) {
    const FeatureValue& value = values[slot.at];
    const std::size_t begin = row.size();
    if (std::holds_alternative<std::monostate>(value)) {
      row += kNull;
    } else {
      row += kPresent;
      if (!put_value(row, slot.type, value))
        return invalid_argument(std::to_string(slot.at) + ": the value is not of type " + type_name(slot.type));
    }
    if (row.size() - begin > model::kFeatureValueBytesMax)
      return Error{ErrorKind::too_large, std::to_string(slot.at) + ": a value may have at most " +
                                             std::to_string(model::kFeatureValueBytesMax) + " bytes"};
    if (row.size() > model::kFeatureRowBytesMax)
      return Error{ErrorKind::too_large, "all features of one entity may have at most " +
                                             std::to_string(model::kFeatureRowBytesMax) + " bytes together"};
    put_at(row, entry, slot.id);
    put_at(row, entry + 8, static_cast<std::uint32_t>(row.size() - values_begin));
    entry += kEntryBytes;
  }
  return row;
}

Result<std::size_t> decode_row(std::string_view row, std::span<const FeatureSlot> slots, std::span<Cell> cells) {
  if (row.size() < kHeadBytes || row[0] != kFormat || row[1] != 0 || row[2] != 0 || row[3] != 0) return damaged();
  const std::size_t count = get<std::uint32_t>(row, 4);
  if ((row.size() - kHeadBytes) / kEntryBytes < count) return damaged();
  const std::string_view values = row.substr(kHeadBytes + kEntryBytes * count);
  std::size_t taken = 0;
  std::size_t next = 0;
  std::uint64_t last_id = 0;
  std::uint32_t begin = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = kHeadBytes + kEntryBytes * i;
    const auto id = get<std::uint64_t>(row, entry);
    const auto end = get<std::uint32_t>(row, entry + 8);
    if ((i > 0 && id <= last_id) || end <= begin || end > values.size()) return damaged();
    last_id = id;
    while (next < slots.size() && slots[next].id < id) ++next;
    for (; next < slots.size() && slots[next].id == id; ++next) {
      const std::string_view value = values.substr(begin, end - begin);
      Cell& cell = cells[slots[next].at];
      if (value[0] == kNull && value.size() == 1) {
        cell.state = CellState::null;
      } else if (value[0] == kPresent && get_value(slots[next].type, value.substr(1), cell.value)) {
        cell.state = CellState::present;
        taken += value.size();
      } else {
        return damaged();
      }
    }
    begin = end;
  }
  if (begin != values.size()) return damaged();
  return taken;
}

}  // namespace thaw::features
