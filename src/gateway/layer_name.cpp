#include "gateway/layer_name.h"

#include <boost/json/array.hpp>

#include "gateway/function_request.h"
#include "model/place.h"
#include "model/version.h"

namespace thaw::gateway {
namespace {

constexpr std::string_view kArn = "arn:";

std::string arn_prefix() {
  return "arn:aws:lambda:" + model::place().region + ":" + model::place().account + ":layer:";
}

}  // namespace

std::string layer_arn(std::string_view name) { return arn_prefix() + std::string(name); }

std::string layer_version_arn(std::string_view name, std::uint64_t version) {
  return layer_arn(name) + ":" + std::to_string(version);
}

Result<std::string> parse_layer_name(std::string_view text) {
  const std::string prefix = arn_prefix();
  if (text.starts_with(kArn) && text.starts_with(prefix)) text.remove_prefix(prefix.size());
  RETURN_IF_ERROR(model::check_layer_name(text));
  return std::string(text);
}

Result<LayerAndVersion> parse_layer_version_arn(std::string_view arn) {
  const std::string shown(arn.substr(0, 256));
  const std::string prefix = arn_prefix();
  const std::size_t colon = arn.rfind(':');
  const Error bad = invalid_argument("Layer version ARN " + shown + " is not possible: " + prefix +
                                     "NAME:VERSION names a version of this daemon's");
  if (!arn.starts_with(prefix) || colon < prefix.size()) return bad;
  const auto version = model::version_number(arn.substr(colon + 1));
  LayerAndVersion found{.name = std::string(arn.substr(prefix.size(), colon - prefix.size())),
                        .version = version.value_or(0)};
  if (!version || !model::check_layer_name(found.name).ok()) return bad;
  return found;
}

Result<std::vector<model::LayerUse>> parse_layers(const boost::json::value& value) {
  const Error wrong(ErrorKind::invalid_argument, "Layers must be an array of strings", "SerializationException");
  if (!value.is_array()) return wrong;
  if (value.get_array().size() > model::kLayersOfFunctionMax) {
    return invalid_argument("Layers: a function cannot reference more than " +
                            std::to_string(model::kLayersOfFunctionMax) + " layers.");
  }
  std::vector<model::LayerUse> uses;
  for (const boost::json::value& item : value.get_array()) {
    if (!item.is_string()) return wrong;
    ASSIGN_OR_RETURN(const LayerAndVersion layer, parse_layer_version_arn(item.get_string()));
    for (const model::LayerUse& other : uses) {
      if (other.name == layer.name)
        return invalid_argument(
            "Two different versions of the same layer are not allowed to be referenced in the same "
            "function. " +
            layer_arn(layer.name));
    }
    uses.push_back({.name = layer.name, .version = layer.version});
  }
  return uses;
}

}  // namespace thaw::gateway
