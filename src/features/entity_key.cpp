#include "features/entity_key.h"

#include <limits>

#include "ports/online_store.h"

namespace thaw::features {
namespace {

using model::FeatureScalar;
using model::FeatureValue;

constexpr std::uint64_t kSignBit = 1ULL << 63;

// Numbers of their own, not the enum's: they are on disks.
char tag_of(FeatureScalar scalar) {
  switch (scalar) {
    case FeatureScalar::boolean:
      return 1;
    case FeatureScalar::int32:
      return 2;
    case FeatureScalar::string:
      return 4;
    case FeatureScalar::bytes:
      return 5;
    case FeatureScalar::unix_timestamp:
      return 6;
    default:
      return 3;  // int64; entities are no floats
  }
}

void put_big_endian(std::string& out, std::uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
}

std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

bool is_text(FeatureScalar scalar) { return scalar == FeatureScalar::string || scalar == FeatureScalar::bytes; }

// Takes count bytes off the key.
Result<std::string_view> take(std::string_view& key, std::size_t count) {
  if (key.size() < count) return Error{ErrorKind::corrupt, "an entity's key is damaged"};
  const std::string_view taken = key.substr(0, count);
  key.remove_prefix(count);
  return taken;
}

}  // namespace

Result<std::string> encode_entity_key(std::span<const EntityKey> entities, std::span<const FeatureValue> values) {
  if (values.size() != entities.size())
    return invalid_argument("a row must have " + std::to_string(entities.size()) + " entity keys");
  std::string key;
  for (std::size_t i = 0; i < entities.size(); ++i) {
    const FeatureScalar scalar = entities[i].type.scalar;
    key += tag_of(scalar);
    if (scalar == FeatureScalar::boolean && std::holds_alternative<bool>(values[i])) {
      key += static_cast<char>(std::get<bool>(values[i]));
    } else if (is_text(scalar) && std::holds_alternative<std::string>(values[i])) {
      const std::string& text = std::get<std::string>(values[i]);
      put_big_endian(key, text.size(), 4);
      key += text;
    } else if (!is_text(scalar) && std::holds_alternative<std::int64_t>(values[i])) {
      put_big_endian(key, static_cast<std::uint64_t>(std::get<std::int64_t>(values[i])) ^ kSignBit, 8);
    } else {
      return invalid_argument("'" + entities[i].name + "' must be of type " + type_name(entities[i].type));
    }
    if (key.size() > ports::kOnlineKeyBytesMax)
      return invalid_argument("'" + entities[i].name + "' is too long: all entity keys together may have " +
                              std::to_string(ports::kOnlineKeyBytesMax) + " bytes");
  }
  return key;
}

Result<std::vector<FeatureValue>> decode_entity_key(std::span<const EntityKey> entities, std::string_view key) {
  std::vector<FeatureValue> values;
  for (const EntityKey& entity : entities) {
    const FeatureScalar scalar = entity.type.scalar;
    ASSIGN_OR_RETURN(const std::string_view tag, take(key, 1));
    if (tag[0] != tag_of(scalar)) return Error{ErrorKind::corrupt, "an entity's key is of another type"};
    if (is_text(scalar)) {
      ASSIGN_OR_RETURN(const std::string_view length, take(key, 4));
      ASSIGN_OR_RETURN(const std::string_view text, take(key, big_endian(length)));
      values.emplace_back(std::string(text));
    } else if (scalar == FeatureScalar::boolean) {
      ASSIGN_OR_RETURN(const std::string_view byte, take(key, 1));
      if (static_cast<unsigned char>(byte[0]) > 1) return Error{ErrorKind::corrupt, "an entity's key is damaged"};
      values.emplace_back(byte[0] == 1);
    } else {
      ASSIGN_OR_RETURN(const std::string_view number, take(key, 8));
      values.emplace_back(static_cast<std::int64_t>(big_endian(number) ^ kSignBit));
    }
  }
  if (!key.empty()) return Error{ErrorKind::corrupt, "an entity's key is too long"};
  return values;
}

}  // namespace thaw::features
