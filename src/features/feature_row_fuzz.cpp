// Rows and entity keys out of an online store that others can write to.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "features/definitions.h"
#include "features/entity_key.h"
#include "features/row_codec.h"
#include "features/value_json.h"

// Two features of each type; the corpus's rows have them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace thaw;
  static const auto kFields = [] {
    std::vector<model::FeatureField> fields;
    for (const char* type : {"Bool", "Int32", "Int64", "Float32", "Float64", "String", "Bytes", "UnixTimestamp"}) {
      fields.push_back({type, *features::parse_type(type), ""});
      const std::string list = std::string("Array(") + type + ")";
      fields.push_back({list, *features::parse_type(list), ""});
    }
    return fields;
  }();
  static const auto kSlots = features::feature_slots(kFields);
  static const std::vector<features::EntityKey> kEntities = {{"a", *features::parse_type("String")},
                                                             {"b", *features::parse_type("Int64")}};
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);  // NOLINT: libFuzzer gives bytes
  std::vector<features::Cell> cells(kFields.size());
  if (features::decode_row(bytes, kSlots, cells).ok()) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i) features::append_value(text, cells[i].value, kFields[i].type);
  }
  // One key for each entity: what can be read is what would be written.
  const auto entity = features::decode_entity_key(kEntities, bytes);
  if (entity.ok()) {
    const auto again = features::encode_entity_key(kEntities, *entity);
    if (again.ok() && *again != bytes) std::abort();
  }
  return 0;
}
