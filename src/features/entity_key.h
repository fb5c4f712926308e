// Entities as the keys of an online store (docs/formats/features.md): typed, in the order of their names, and one key
// for each entity. Keys of numbers order as the numbers do.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "features/definitions.h"

namespace thaw::features {

// values: one for each entity key of the view, in their order. Errors: invalid_argument names the entity key.
Result<std::string> encode_entity_key(std::span<const EntityKey> entities, std::span<const model::FeatureValue> values);
// Errors: corrupt.
Result<std::vector<model::FeatureValue>> decode_entity_key(std::span<const EntityKey> entities, std::string_view key);

}  // namespace thaw::features
