// How Lambda's API names layers: NAME or arn:aws:lambda:REGION:ACCOUNT:layer:NAME, and with :VERSION a version.
//
// Threads: pure functions of their arguments and model::place(). Errors: invalid_argument.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/value.hpp>

#include "base/result.h"
#include "model/layer.h"

namespace thaw::gateway {

std::string layer_arn(std::string_view name);
std::string layer_version_arn(std::string_view name, std::uint64_t version);

// A LayerName, decoded already.
Result<std::string> parse_layer_name(std::string_view text);

struct LayerAndVersion {
  std::string name;
  std::uint64_t version = 0;
};
// The ARN of a version, which is the only way that functions name them.
Result<LayerAndVersion> parse_layer_version_arn(std::string_view arn);

// A function's Layers: at most five, no layer twice.
Result<std::vector<model::LayerUse>> parse_layers(const boost::json::value& value);

}  // namespace thaw::gateway
