#include "features/definitions.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <cctype>

namespace thaw::features {
namespace {

namespace json = boost::json;
using model::FeatureScalar;
using model::FeatureType;

struct ScalarName {
  FeatureScalar scalar;
  std::string_view name;
};

constexpr std::array kScalarNames{
    ScalarName{FeatureScalar::boolean, "Bool"},    ScalarName{FeatureScalar::int32, "Int32"},
    ScalarName{FeatureScalar::int64, "Int64"},     ScalarName{FeatureScalar::float32, "Float32"},
    ScalarName{FeatureScalar::float64, "Float64"}, ScalarName{FeatureScalar::string, "String"},
    ScalarName{FeatureScalar::bytes, "Bytes"},     ScalarName{FeatureScalar::unix_timestamp, "UnixTimestamp"},
};

std::string lower(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != '_') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

std::optional<FeatureScalar> parse_scalar(std::string_view name) {
  for (const ScalarName& known : kScalarNames) {
    if (lower(known.name) == name) return known.scalar;
  }
  return std::nullopt;
}

std::string_view metric_name(VectorMetric metric) {
  switch (metric) {
    case VectorMetric::l2:
      return "l2";
    case VectorMetric::inner_product:
      return "inner_product";
    case VectorMetric::cosine:
      break;
  }
  return "cosine";
}

void add_text(json::object& object, std::string_view key, std::string_view text) {
  if (!text.empty()) object[key] = text;
}

}  // namespace

std::string type_name(FeatureType type) {
  const auto* known = std::find_if(kScalarNames.begin(), kScalarNames.end(),
                                   [&](const ScalarName& name) { return name.scalar == type.scalar; });
  const std::string scalar(known == kScalarNames.end() ? std::string_view("?") : known->name);
  return type.list ? "Array(" + scalar + ")" : scalar;
}

std::optional<FeatureType> parse_type(std::string_view name) {
  const std::string text = lower(name);
  constexpr std::string_view kArray = "array(";
  const bool list = text.starts_with(kArray) && text.ends_with(')');
  const auto scalar = parse_scalar(list ? std::string_view(text).substr(kArray.size(), text.size() - kArray.size() - 1)
                                        : std::string_view(text));
  if (!scalar) return std::nullopt;
  return FeatureType{*scalar, list};
}

Result<FeatureReference> parse_reference(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size() ||
      text.find(':', colon + 1) != std::string_view::npos)
    return invalid_argument("'" + std::string(text.substr(0, 2 * model::kFeatureNameBytesMax)) +
                            "' must be VIEW:FEATURE");
  return FeatureReference{std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

Status check_references(const Definitions& definitions) {
  const auto few = [](std::size_t count, std::size_t max, std::string_view what) -> Status {
    if (count <= max) return {};
    return invalid_argument("there may be at most " + std::to_string(max) + " " + std::string(what));
  };
  RETURN_IF_ERROR(few(definitions.views.size(), model::kFeatureViewsMax, "feature views"));
  RETURN_IF_ERROR(few(definitions.services.size(), kFeatureServicesMax, "feature services"));
  RETURN_IF_ERROR(few(definitions.push_sources.size(), kPushSourcesMax, "push sources"));
  for (const auto& [name, service] : definitions.services) {
    for (const FeatureReference& wanted : service.features) {
      const auto view = definitions.views.find(wanted.view);
      const std::string where = "feature_service '" + name + "': features: ";
      if (view == definitions.views.end())
        return invalid_argument(where + "there is no feature view '" + wanted.view + "'");
      const auto& fields = view->second.features;
      if (std::none_of(fields.begin(), fields.end(), [&](const auto& field) { return field.name == wanted.feature; }))
        return invalid_argument(where + "the feature view '" + wanted.view + "' has no feature '" + wanted.feature +
                                "'");
    }
  }
  for (const auto& [name, source] : definitions.push_sources) {
    if (!definitions.views.contains(source.view))
      return invalid_argument("push_source '" + name + "': view: there is no feature view '" + source.view + "'");
  }
  return {};
}

json::object to_json(const FeatureView& view) {
  json::object object{{"name", view.name}};
  add_text(object, "description", view.description);
  json::array entities;
  for (const EntityKey& entity : view.entities)
    entities.push_back(json::object{{"name", entity.name}, {"type", type_name(entity.type)}});
  object["entities"] = std::move(entities);
  object["ttl_s"] = view.ttl_s;
  object["online"] = view.online;
  json::array features;
  for (const model::FeatureField& field : view.features) {
    json::object feature{{"name", field.name}, {"type", type_name(field.type)}};
    add_text(feature, "description", field.description);
    features.push_back(std::move(feature));
  }
  object["features"] = std::move(features);
  if (view.source) object["source"] = to_json(*view.source);
  if (view.vector) {
    object["vector"] = json::object{{"feature", view.vector->feature},
                                    {"dimensions", view.vector->dimensions},
                                    {"metric", metric_name(view.vector->metric)}};
  }
  return object;
}

json::object to_json(const FeatureService& service) {
  json::object object{{"name", service.name}};
  add_text(object, "description", service.description);
  json::array features;
  for (const FeatureReference& wanted : service.features)
    features.push_back(json::string(wanted.view + ":" + wanted.feature));
  object["features"] = std::move(features);
  return object;
}

json::object to_json(const PushSource& source) { return {{"name", source.name}, {"view", source.view}}; }

json::object to_json(const Definitions& definitions) {
  const auto all = [](const auto& named) {
    json::array array;
    for (const auto& [name, one] : named) array.push_back(to_json(one));
    return array;
  };
  return {{"feature_view", all(definitions.views)},
          {"feature_service", all(definitions.services)},
          {"push_source", all(definitions.push_sources)}};
}

}  // namespace thaw::features
