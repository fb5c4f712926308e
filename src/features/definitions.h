// What is defined in a feature store, as features.toml or the API says it (docs/features.md):
//
//   [[feature_view]]     features of the same entities, with their time to live and where they come from
//   [[feature_service]]  a named list of features, what one model wants
//   [[push_source]]      a name that rows of a view are pushed under
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "features/source.h"
#include "model/feature.h"

namespace thaw::features {

inline constexpr std::size_t kDefinitionsBytesMax = 8 << 20;  // of a TOML or JSON text
inline constexpr std::size_t kFeatureServicesMax = 1024;
inline constexpr std::size_t kPushSourcesMax = 1024;
inline constexpr std::size_t kDescriptionBytesMax = 1024;
inline constexpr std::uint64_t kTtlSecondsMax = 100ULL * 365 * 86400;

// Columns of rows that are no features.
inline constexpr std::string_view kEventTimestamp = "event_timestamp";
inline constexpr std::string_view kCreated = "created";

struct EntityKey {
  std::string name;
  model::FeatureType type;  // no list, and none of the float types

  bool operator==(const EntityKey&) const = default;
};

enum class VectorMetric : std::uint8_t { cosine, l2, inner_product };

// The feature of a view that is searched by its neighbours: a list of float32, of so many numbers.
struct VectorSettings {
  std::string feature;
  std::uint32_t dimensions = 0;
  VectorMetric metric = VectorMetric::cosine;

  bool operator==(const VectorSettings&) const = default;
};

struct FeatureView {
  std::string name;
  std::string description;
  std::vector<EntityKey> entities;  // in the order of their names
  std::uint64_t ttl_s = 0;          // 0: values never get too old
  std::vector<model::FeatureField> features;
  std::optional<Source> source;
  std::optional<VectorSettings> vector;
  bool online = true;  // whether rows may be written to the online store

  bool operator==(const FeatureView&) const = default;
};

struct FeatureReference {
  std::string view;
  std::string feature;

  bool operator==(const FeatureReference&) const = default;
};

struct FeatureService {
  std::string name;
  std::string description;
  std::vector<FeatureReference> features;

  bool operator==(const FeatureService&) const = default;
};

struct PushSource {
  std::string name;
  std::string view;

  bool operator==(const PushSource&) const = default;
};

struct Definitions {
  std::map<std::string, FeatureView, std::less<>> views;
  std::map<std::string, FeatureService, std::less<>> services;
  std::map<std::string, PushSource, std::less<>> push_sources;

  bool operator==(const Definitions&) const = default;
};

// "Int64", "Float32", "Array(String)", as Feast spells types; read without regard to case.
std::string type_name(model::FeatureType type);
std::optional<model::FeatureType> parse_type(std::string_view name);
// "view:feature". Errors: invalid_argument.
Result<FeatureReference> parse_reference(std::string_view text);

// Each definition for itself is checked; references between them are check_references()'. Errors: invalid_argument
// names the definition, the field and the limit.
Result<Definitions> definitions_from_json(const boost::json::object& object);
Result<Definitions> parse_definitions_json(std::string_view text);
Result<Definitions> parse_definitions_toml(std::string_view text);
// Whether what they name is there, and all of them are few enough.
Status check_references(const Definitions& definitions);

boost::json::object to_json(const FeatureView& view);
boost::json::object to_json(const FeatureService& service);
boost::json::object to_json(const PushSource& source);
// As definitions_from_json() reads them.
boost::json::object to_json(const Definitions& definitions);

}  // namespace thaw::features
