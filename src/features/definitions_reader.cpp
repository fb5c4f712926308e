// Definitions out of JSON and TOML. TOML becomes JSON first, so that both are read by the same rules.
#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <initializer_list>
#include <set>

#include "features/definitions.h"
#include "features/row_codec.h"
#include "model/toml.h"

namespace thaw::features {
namespace {

namespace json = boost::json;
using model::FeatureScalar;

constexpr std::size_t kJsonDepthMax = 8;

std::string shown(std::string_view text) { return "'" + std::string(text.substr(0, 200)) + "'"; }

// An object whose fields are taken out one by one, with where it stands for the messages.
class Fields {
 public:
  Fields(const json::object& object, std::string where) : object_(object), where_(std::move(where)) {}

  Error error(std::string_view field, const std::string& what) const {
    return invalid_argument(where_ + ": " + std::string(field) + ": " + what);
  }
  const std::string& where() const { return where_; }

  Status only(std::initializer_list<std::string_view> known) const {
    for (const auto& field : object_) {
      const std::string_view key(field.key());
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      std::string names;
      for (const std::string_view name : known) names += (names.empty() ? "" : ", ") + std::string(name);
      return invalid_argument(where_ + ": unknown field " + shown(key) + "; its fields are " + names);
    }
    return {};
  }

  Result<std::string> text(std::string_view field, std::size_t bytes_max, std::string_view otherwise = {}) const {
    const json::value* value = object_.if_contains(field);
    if (value == nullptr) return std::string(otherwise);
    if (!value->is_string()) return error(field, "must be a string");
    if (value->get_string().size() > bytes_max)
      return error(field, "must have at most " + std::to_string(bytes_max) + " bytes");
    return std::string(std::string_view(value->get_string()));
  }

  // 1 to kFeatureNameBytesMax letters, digits, '_', '-' and '.'.
  Result<std::string> name(std::string_view field) const {
    ASSIGN_OR_RETURN(std::string name, text(field, model::kFeatureNameBytesMax));
    constexpr std::string_view kOthers = "_-.";
    const bool fits = std::all_of(name.begin(), name.end(), [&](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             kOthers.find(c) != std::string_view::npos;
    });
    if (name.empty() || !fits)
      return error(field, "must have 1 to " + std::to_string(model::kFeatureNameBytesMax) +
                              " of the characters A-Z a-z 0-9 _ - .");
    return name;
  }

  Result<bool> boolean(std::string_view field, bool otherwise) const {
    const json::value* value = object_.if_contains(field);
    if (value == nullptr) return otherwise;
    if (!value->is_bool()) return error(field, "must be true or false");
    return value->get_bool();
  }

  Result<std::uint64_t> count(std::string_view field, std::uint64_t min, std::uint64_t max) const {
    const json::value* value = object_.if_contains(field);
    const std::string range = "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max);
    if (value == nullptr) {
      if (min > 0) return error(field, range);
      return std::uint64_t{0};
    }
    boost::system::error_code failed;
    const auto number = value->to_number<std::uint64_t>(failed);
    if (failed || number < min || number > max) return error(field, range);
    return number;
  }

  Result<const json::array*> array(std::string_view field, std::size_t min, std::size_t max) const {
    const json::value* value = object_.if_contains(field);
    const bool fits =
        value != nullptr && value->is_array() && value->get_array().size() >= min && value->get_array().size() <= max;
    if (!fits)
      return error(field, "must be an array of " + std::to_string(min) + " to " + std::to_string(max) + " items");
    return &value->get_array();
  }

  Result<const json::object*> object(std::string_view field) const {
    const json::value* value = object_.if_contains(field);
    if (value == nullptr) return static_cast<const json::object*>(nullptr);
    if (!value->is_object()) return error(field, "must be a table");
    return &value->get_object();
  }

  Result<model::FeatureType> type(std::string_view field) const {
    ASSIGN_OR_RETURN(const std::string name, text(field, model::kFeatureNameBytesMax));
    const auto type = parse_type(name);
    if (type) return *type;
    return error(field, shown(name) +
                            " is none of Bool, Int32, Int64, Float32, Float64, String, Bytes, UnixTimestamp, "
                            "and Array(…) of them");
  }

 private:
  const json::object& object_;
  std::string where_;
};

Result<Fields> item(const json::array& array, std::size_t at, const std::string& where) {
  const std::string place = where + "[" + std::to_string(at) + "]";
  if (!array[at].is_object()) return invalid_argument(place + ": must be a table");
  return Fields(array[at].get_object(), place);
}

Status read_entities(const Fields& fields, FeatureView& view) {
  ASSIGN_OR_RETURN(const json::array* entities, fields.array("entities", 1, model::kEntityKeysMax));
  for (std::size_t i = 0; i < entities->size(); ++i) {
    ASSIGN_OR_RETURN(const Fields one, item(*entities, i, fields.where() + ": entities"));
    RETURN_IF_ERROR(one.only({"name", "type"}));
    EntityKey entity;
    ASSIGN_OR_RETURN(entity.name, one.name("name"));
    ASSIGN_OR_RETURN(entity.type, one.type("type"));
    const bool is_float = entity.type.scalar == FeatureScalar::float32 || entity.type.scalar == FeatureScalar::float64;
    if (entity.type.list || is_float)
      return one.error("type",
                       type_name(entity.type) + " is not possible for an entity: neither arrays nor floats are");
    view.entities.push_back(std::move(entity));
  }
  std::sort(view.entities.begin(), view.entities.end(),
            [](const EntityKey& a, const EntityKey& b) { return a.name < b.name; });
  return {};
}

Status read_features(const Fields& fields, FeatureView& view) {
  ASSIGN_OR_RETURN(const json::array* features, fields.array("features", 1, model::kFeaturesPerViewMax));
  std::set<std::string> names{std::string(kEventTimestamp), std::string(kCreated)};
  std::set<std::uint64_t> ids;
  for (const EntityKey& entity : view.entities) {
    if (!names.insert(entity.name).second) return fields.error("entities", shown(entity.name) + " is named twice");
  }
  for (std::size_t i = 0; i < features->size(); ++i) {
    ASSIGN_OR_RETURN(const Fields one, item(*features, i, fields.where() + ": features"));
    RETURN_IF_ERROR(one.only({"name", "type", "description"}));
    model::FeatureField field;
    ASSIGN_OR_RETURN(field.name, one.name("name"));
    ASSIGN_OR_RETURN(field.type, one.type("type"));
    ASSIGN_OR_RETURN(field.description, one.text("description", kDescriptionBytesMax));
    if (!names.insert(field.name).second)
      return one.error("name", shown(field.name) + " is the name of another feature, of an entity or of a time column");
    if (!ids.insert(feature_id(field)).second)
      return one.error("name", shown(field.name) + " cannot be told from another feature in a row: name it otherwise");
    view.features.push_back(std::move(field));
  }
  return {};
}

Status read_vector(const json::object& object, FeatureView& view, const std::string& where) {
  const Fields fields(object, where + ": vector");
  RETURN_IF_ERROR(fields.only({"feature", "dimensions", "metric"}));
  VectorSettings vector;
  ASSIGN_OR_RETURN(vector.feature, fields.name("feature"));
  ASSIGN_OR_RETURN(const std::uint64_t dimensions, fields.count("dimensions", 1, model::kVectorDimensionsMax));
  vector.dimensions = static_cast<std::uint32_t>(dimensions);
  ASSIGN_OR_RETURN(const std::string metric, fields.text("metric", 32, "cosine"));
  if (metric == "l2") {
    vector.metric = VectorMetric::l2;
  } else if (metric == "inner_product") {
    vector.metric = VectorMetric::inner_product;
  } else if (metric != "cosine") {
    return fields.error("metric", "must be cosine, l2 or inner_product");
  }
  const auto field = std::find_if(view.features.begin(), view.features.end(),
                                  [&](const model::FeatureField& one) { return one.name == vector.feature; });
  if (field == view.features.end() || field->type != model::FeatureType{FeatureScalar::float32, true})
    return fields.error("feature", "must name a feature of the view of type Array(Float32)");
  view.vector = std::move(vector);
  return {};
}

Result<FeatureView> read_view(const Fields& fields) {
  RETURN_IF_ERROR(fields.only({"name", "description", "entities", "ttl_s", "features", "source", "vector", "online"}));
  FeatureView view;
  ASSIGN_OR_RETURN(view.name, fields.name("name"));
  const Fields named = fields;
  ASSIGN_OR_RETURN(view.description, named.text("description", kDescriptionBytesMax));
  ASSIGN_OR_RETURN(view.ttl_s, named.count("ttl_s", 0, kTtlSecondsMax));
  ASSIGN_OR_RETURN(view.online, named.boolean("online", true));
  RETURN_IF_ERROR(read_entities(named, view));
  RETURN_IF_ERROR(read_features(named, view));
  ASSIGN_OR_RETURN(const json::object* source, named.object("source"));
  if (source != nullptr) {
    auto read = source_from_json(*source);
    if (!read.ok()) return invalid_argument(named.where() + ": " + read.error().message);
    view.source = std::move(*read);
  }
  ASSIGN_OR_RETURN(const json::object* vector, named.object("vector"));
  if (vector != nullptr) RETURN_IF_ERROR(read_vector(*vector, view, named.where()));
  return view;
}

Result<FeatureService> read_service(const Fields& fields) {
  RETURN_IF_ERROR(fields.only({"name", "description", "features"}));
  FeatureService service;
  ASSIGN_OR_RETURN(service.name, fields.name("name"));
  ASSIGN_OR_RETURN(service.description, fields.text("description", kDescriptionBytesMax));
  ASSIGN_OR_RETURN(const json::array* features, fields.array("features", 1, model::kFeaturesPerViewMax));
  for (const json::value& feature : *features) {
    if (!feature.is_string()) return fields.error("features", "must be strings like VIEW:FEATURE");
    auto reference = parse_reference(std::string_view(feature.get_string()));
    if (!reference.ok()) return fields.error("features", reference.error().message);
    if (std::find(service.features.begin(), service.features.end(), *reference) != service.features.end())
      return fields.error("features", shown(std::string_view(feature.get_string())) + " is there twice");
    service.features.push_back(std::move(*reference));
  }
  return service;
}

Result<PushSource> read_push_source(const Fields& fields) {
  RETURN_IF_ERROR(fields.only({"name", "view"}));
  PushSource source;
  ASSIGN_OR_RETURN(source.name, fields.name("name"));
  ASSIGN_OR_RETURN(source.view, fields.name("view"));
  return source;
}

// The items of one kind, by name. where: "feature_view 'NAME'" as far as there is a name.
template <class One, class Read>
Status read_all(const json::object& object, const std::string& kind, std::size_t max, Read read,
                std::map<std::string, One, std::less<>>& into) {
  if (!object.contains(kind)) return {};
  const Fields whole(object, "definitions");
  ASSIGN_OR_RETURN(const json::array* items, whole.array(kind, 0, max));
  for (std::size_t i = 0; i < items->size(); ++i) {
    RETURN_IF_ERROR(item(*items, i, kind));
    const json::object& fields = (*items)[i].get_object();
    const json::value* name = fields.if_contains("name");
    const std::string where = name != nullptr && name->is_string()
                                  ? kind + " " + shown(std::string_view(name->get_string()))
                                  : kind + "[" + std::to_string(i) + "]";
    ASSIGN_OR_RETURN(One one, read(Fields(fields, where)));
    const std::string key = one.name;
    if (!into.emplace(key, std::move(one)).second) return invalid_argument(where + ": name: it is there twice");
  }
  return {};
}

Result<json::value> from_toml(const toml::node& node) {
  if (const auto* text = node.as_string()) return json::value(json::string(**text));
  if (const auto* number = node.as_integer()) return json::value(**number);
  if (const auto* number = node.as_floating_point()) return json::value(**number);
  if (const auto* boolean = node.as_boolean()) return json::value(**boolean);
  if (const auto* items = node.as_array()) {
    json::array array;
    for (const toml::node& one : *items) {
      ASSIGN_OR_RETURN(json::value value, from_toml(one));
      array.push_back(std::move(value));
    }
    return json::value(std::move(array));
  }
  if (const auto* table = node.as_table()) {
    json::object object;
    for (const auto& [key, one] : *table) {
      ASSIGN_OR_RETURN(json::value value, from_toml(one));
      object[key.str()] = std::move(value);
    }
    return json::value(std::move(object));
  }
  return invalid_argument("line " + std::to_string(node.source().begin.line) + ": dates and times have no place here");
}

Status check_size(std::string_view text) {
  if (text.size() <= kDefinitionsBytesMax) return {};
  return Error{ErrorKind::too_large, "definitions may have at most " + std::to_string(kDefinitionsBytesMax) + " bytes"};
}

}  // namespace

Result<Definitions> definitions_from_json(const json::object& object) {
  RETURN_IF_ERROR(Fields(object, "definitions").only({"feature_view", "feature_service", "push_source"}));
  Definitions definitions;
  RETURN_IF_ERROR(read_all(object, "feature_view", model::kFeatureViewsMax, read_view, definitions.views));
  RETURN_IF_ERROR(read_all(object, "feature_service", kFeatureServicesMax, read_service, definitions.services));
  RETURN_IF_ERROR(read_all(object, "push_source", kPushSourcesMax, read_push_source, definitions.push_sources));
  return definitions;
}

Result<Definitions> parse_definitions_json(std::string_view text) {
  RETURN_IF_ERROR(check_size(text));
  json::parse_options options;
  options.max_depth = kJsonDepthMax;
  boost::system::error_code failed;
  const json::value value = json::parse(text, failed, {}, options);
  if (failed || !value.is_object()) return invalid_argument("the definitions are no JSON object");
  return definitions_from_json(value.get_object());
}

Result<Definitions> parse_definitions_toml(std::string_view text) {
  RETURN_IF_ERROR(check_size(text));
  if (model::has_deep_toml_key(text))
    return invalid_argument("a key has more than " + std::to_string(model::kTomlKeyDotsMax) + " dots");
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    const auto& at = parsed.error().source().begin;
    return invalid_argument("line " + std::to_string(at.line) + ", column " + std::to_string(at.column) + ": " +
                            std::string(parsed.error().description()));
  }
  ASSIGN_OR_RETURN(const json::value value, from_toml(parsed.table()));
  return definitions_from_json(value.get_object());
}

}  // namespace thaw::features
