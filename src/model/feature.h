// What features are: values of a type, views that group them under entity keys, and the services that pick from views.
// The words are Feast's.
//
//   feature    a named value of an entity, like a driver's conv_rate
//   view       features with the same entity keys, time to live and source
//   service    a named list of features, what one model wants
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace thaw::model {

inline constexpr std::size_t kFeatureNameBytesMax = 128;  // of a view, feature, entity key or service
inline constexpr std::size_t kFeaturesPerViewMax = 4096;
inline constexpr std::size_t kEntityKeysMax = 8;  // of one view
inline constexpr std::size_t kFeatureViewsMax = 1024;
inline constexpr std::size_t kFeatureValueBytesMax = 1 << 20;  // of one string, bytes value or list
inline constexpr std::size_t kFeatureRowBytesMax = 4 << 20;    // of all features of one entity in one view
inline constexpr std::size_t kVectorDimensionsMax = 4096;

// Feast's primitive types, and lists of them.
enum class FeatureScalar : std::uint8_t { boolean, int32, int64, float32, float64, string, bytes, unix_timestamp };

struct FeatureType {
  FeatureScalar scalar = FeatureScalar::int64;
  bool list = false;

  bool operator==(const FeatureType&) const = default;
};

// Whole numbers of every width are int64, both float widths are double (float32 is rounded to its width when it is
// taken in); a unix_timestamp is milliseconds since 1970; bytes are a string. std::monostate: there is no value.
using FeatureValue = std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<bool>,
                                  std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>;

struct FeatureField {
  std::string name;
  FeatureType type;
  std::string description;

  bool operator==(const FeatureField&) const = default;
};

}  // namespace thaw::model
