// Layers: files that functions see at /opt, published in versions that never change. Names and limits are AWS Lambda's
// ("PublishLayerVersion", AWS Lambda API Reference).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/function.h"

namespace thaw::model {

inline constexpr std::size_t kLayerNameBytesMax = 140;
inline constexpr std::size_t kLayerLicenseBytesMax = 512;
inline constexpr std::size_t kLayerRuntimesMax = 15;
inline constexpr std::size_t kLayerArchitecturesMax = 2;
inline constexpr std::size_t kLayersOfFunctionMax = 5;

struct LayerVersion {
  // [A-Za-z0-9_-]+, at most kLayerNameBytesMax; case counts.
  std::string name;
  std::uint64_t version = 0;  // from 1
  std::string description;    // at most kFunctionDescriptionBytesMax
  std::string license;
  // What the publisher says that it is for; nothing follows from it.
  std::vector<std::string> runtimes;
  std::vector<std::string> architectures;
  std::string created_at;   // as Lambda writes times
  std::string code_sha256;  // of the package's content: names its folder
  std::uint64_t code_bytes = 0;
  UploadedZip zip;

  bool operator==(const LayerVersion&) const = default;
};

// Errors: invalid_argument names the field as Lambda's API does.
Status check_layer_name(std::string_view name);
Status check_layer(const LayerVersion& layer);

// The stored form (docs/formats/catalog.md).
std::string to_json(const LayerVersion& layer);
// Errors: corrupt for what to_json() cannot have written, unsupported for another format number.
Result<LayerVersion> layer_from_json(std::string_view json);

}  // namespace thaw::model
