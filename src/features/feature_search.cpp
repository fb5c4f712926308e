// The half of FeatureStore that searches vectors.
#include <algorithm>
#include <boost/json/parse.hpp>
#include <chrono>
#include <cmath>

#include "features/compiled.h"
#include "features/entity_key.h"
#include "features/value_json.h"

namespace thaw::features {
namespace {

namespace json = boost::json;
using model::FeatureValue;

constexpr std::size_t kFilterFieldsMax = 16;
constexpr std::size_t kFilterValuesMax = 1000;

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string shown(std::string_view text) { return "'" + std::string(text.substr(0, 256)) + "'"; }

// What rows may be found.
struct Filter {
  struct Field {
    std::size_t at = 0;  // of the entity keys, or of the cells
    std::vector<FeatureValue> values;
  };
  const FeatureView& view;
  std::int64_t now = 0;
  std::vector<Field> entities;
  std::vector<Field> features;
  std::vector<FeatureSlot> slots;  // of the features

  static bool has(const Field& field, const FeatureValue& value) {
    return std::find(field.values.begin(), field.values.end(), value) != field.values.end();
  }
  bool accepts(std::string_view key, const IndexedRow& row) const {
    if (row.expires_ms != 0 && row.expires_ms <= now) return false;
    if (view.ttl_s > 0 && now - row.event_ms > static_cast<std::int64_t>(view.ttl_s) * 1000) return false;
    if (!entities.empty()) {
      const auto values = decode_entity_key(view.entities, key);
      if (!values.ok()) return false;
      for (const Field& field : entities) {
        if (!has(field, (*values)[field.at])) return false;
      }
    }
    if (features.empty()) return true;
    std::vector<Cell> cells(features.size());
    if (!decode_row(row.value, slots, cells).ok()) return false;
    return std::all_of(features.begin(), features.end(),
                       [&](const Field& field) { return has(field, cells[field.at].value); });
  }
};

Result<std::vector<FeatureValue>> wanted_values(std::string_view name, const json::value& given,
                                                model::FeatureType type) {
  if (type.list) return invalid_argument("filter: " + shown(name) + " is an array, which no filter can be about");
  std::vector<FeatureValue> values;
  const auto add = [&](const json::value& one) -> Status {
    auto value = value_from_json(one, type);
    if (!value.ok()) return invalid_argument("filter: " + shown(name) + " " + value.error().message);
    values.push_back(std::move(*value));
    return {};
  };
  if (!given.is_array()) {
    RETURN_IF_ERROR(add(given));
    return values;
  }
  if (given.get_array().empty() || given.get_array().size() > kFilterValuesMax)
    return invalid_argument("filter: " + shown(name) + " must have 1 to " + std::to_string(kFilterValuesMax) +
                            " values");
  for (const json::value& one : given.get_array()) RETURN_IF_ERROR(add(one));
  return values;
}

void sort_slots(std::vector<FeatureSlot>& slots) {
  std::sort(slots.begin(), slots.end(), [](const FeatureSlot& a, const FeatureSlot& b) { return a.id < b.id; });
}

template <class Features>
Result<Filter> filter_of(const FeatureView& view, const Features& features, const json::object& given) {
  Filter filter{.view = view, .now = now_ms()};
  if (given.size() > kFilterFieldsMax)
    return invalid_argument("filter: at most " + std::to_string(kFilterFieldsMax) + " fields may be there");
  for (const auto& [name, value] : given) {
    const auto entity = std::find_if(view.entities.begin(), view.entities.end(),
                                     [&](const EntityKey& key) { return key.name == std::string_view(name); });
    if (entity != view.entities.end()) {
      ASSIGN_OR_RETURN(auto values, wanted_values(name, value, entity->type));
      filter.entities.push_back({static_cast<std::size_t>(entity - view.entities.begin()), std::move(values)});
      continue;
    }
    const auto feature = features.find(std::string_view(name));
    if (feature == features.end())
      return invalid_argument("filter: " + shown(name) + " is neither an entity key nor a feature of " +
                              shown(view.name));
    ASSIGN_OR_RETURN(auto values, wanted_values(name, value, feature->second.type));
    filter.slots.push_back(
        {feature->second.id, static_cast<std::uint32_t>(filter.features.size()), feature->second.type});
    filter.features.push_back({filter.features.size(), std::move(values)});
  }
  sort_slots(filter.slots);
  return filter;
}

Result<std::vector<float>> query_vector(const FeatureView& view, const std::vector<double>& query) {
  if (query.size() != view.vector->dimensions)
    return invalid_argument("query: must have " + std::to_string(view.vector->dimensions) + " numbers, as the vector " +
                            shown(view.vector->feature) + " of " + shown(view.name) + " has, and has " +
                            std::to_string(query.size()));
  std::vector<float> numbers;
  numbers.reserve(query.size());
  for (const double number : query) {
    numbers.push_back(static_cast<float>(number));
    if (!std::isfinite(numbers.back())) return invalid_argument("query: must have finite numbers of 32 bits alone");
  }
  return numbers;
}

Result<std::string> key_of(const FeatureView& view, const json::object& entities) {
  std::vector<FeatureValue> values;
  for (const EntityKey& entity : view.entities) {
    const json::value* given = entities.if_contains(entity.name);
    if (given == nullptr) return invalid_argument("entities: " + shown(entity.name) + " is missing");
    auto value = value_from_json(*given, entity.type);
    if (!value.ok()) return invalid_argument("entities: " + shown(entity.name) + " " + value.error().message);
    if (std::holds_alternative<std::monostate>(*value))
      return invalid_argument("entities: " + shown(entity.name) + " must not be null");
    values.push_back(std::move(*value));
  }
  if (entities.size() != view.entities.size())
    return invalid_argument("entities: must be the entity keys of " + shown(view.name) + " alone");
  auto key = encode_entity_key(view.entities, values);
  if (!key.ok()) return invalid_argument("entities: " + key.error().message);
  return key;
}

Status check_numbers(std::size_t top_k, std::size_t effort) {
  if (top_k == 0 || top_k > kNeighboursMax)
    return invalid_argument("top_k: must be 1 to " + std::to_string(kNeighboursMax));
  if (effort == 0 || effort > kSearchEffortMax)
    return invalid_argument("ef: must be 1 to " + std::to_string(kSearchEffortMax));
  return {};
}

}  // namespace

Result<SearchAnswer> FeatureStore::search(const SearchRequest& request) {
  RETURN_IF_ERROR(check_numbers(request.top_k, request.effort));
  const auto all = compiled();
  const auto found = all->views.find(request.view);
  if (found == all->views.end())
    return Error{ErrorKind::not_found, "feature_view: there is no feature view " + shown(request.view)};
  const Compiled::View& compiled = found->second;
  const FeatureView& view = *compiled.view;
  if (!view.vector) return invalid_argument("feature_view: " + shown(view.name) + " has no vector to search");
  ASSIGN_OR_RETURN(const Filter filter, filter_of(view, compiled.features, request.filter));
  SearchAnswer answer;
  answer.entities = view.entities;
  std::vector<FeatureSlot> slots;
  std::optional<std::size_t> vector_at;
  if (request.features.size() > kFeaturesPerReadMax)
    return invalid_argument("features: at most " + std::to_string(kFeaturesPerReadMax) + " may be asked for at once");
  for (const std::string& name : request.features) {
    const auto feature = compiled.features.find(name);
    if (feature == compiled.features.end())
      return invalid_argument("features: " + shown(name) + " is no feature of " + shown(view.name));
    const std::size_t at = answer.features.size();
    const auto twice = [&](const model::FeatureField& other) { return other.name == name; };
    if (std::any_of(answer.features.begin(), answer.features.end(), twice))
      return invalid_argument("features: " + shown(name) + " is there twice");
    answer.features.push_back(view.features[feature->second.at]);
    slots.push_back({feature->second.id, static_cast<std::uint32_t>(at), feature->second.type});
    if (name == view.vector->feature) vector_at = at;
  }
  sort_slots(slots);
  VectorQuery query{.top_k = request.top_k, .approximate = request.approximate, .effort = request.effort};
  std::string key;
  if (request.entities) {
    ASSIGN_OR_RETURN(key, key_of(view, *request.entities));
  } else {
    ASSIGN_OR_RETURN(query.vector, query_vector(view, request.query));
  }
  ASSIGN_OR_RETURN(const auto index, indexes_.get(view, compiled.slots));
  if (request.entities) {
    const auto row = index->find(key);
    const Filter any{.view = view, .now = filter.now};
    if (!row || row->vector.empty() || !any.accepts(key, *row))
      return Error{ErrorKind::not_found, "entities: that entity has no vector in " + shown(view.name)};
    query.vector = row->vector;
  }
  ASSIGN_OR_RETURN(const Neighbours neighbours, index->search(query, [&](std::string_view at, const IndexedRow& row) {
    return filter.accepts(at, row);
  }));
  answer.exact = neighbours.exact;
  std::size_t taken = 0;
  for (const Neighbour& neighbour : neighbours.nearest) {
    SearchHit& hit = answer.hits.emplace_back();
    ASSIGN_OR_RETURN(hit.entities, decode_entity_key(view.entities, neighbour.key));
    hit.features.resize(answer.features.size());
    ASSIGN_OR_RETURN(const std::size_t bytes, decode_row(neighbour.row.value, slots, hit.features));
    taken += bytes;
    if (vector_at) {
      hit.features[*vector_at] = {CellState::present,
                                  std::vector<double>(neighbour.row.vector.begin(), neighbour.row.vector.end())};
      taken += sizeof(double) * neighbour.row.vector.size();
    }
    if (taken > kAnswerBytesMax)
      return Error{ErrorKind::too_large, "the values asked for have more than " +
                                             std::to_string(kAnswerBytesMax >> 20) + " MB: ask for fewer at once"};
    hit.distance = neighbour.distance;
    hit.score = neighbour.score;
    hit.event_ms = neighbour.row.event_ms;
  }
  return answer;
}

Result<OnlineAnswer> FeatureStore::search_documents(const DocumentsRequest& request) {
  SearchRequest search{.query = request.query, .top_k = request.top_k};
  std::vector<FeatureReference> wanted;
  if (!request.service.empty()) {
    const auto all = definitions();
    const auto service = all->services.find(request.service);
    if (service == all->services.end())
      return Error{ErrorKind::not_found, "feature_service: there is no feature service " + shown(request.service)};
    wanted = service->second.features;
  }
  for (const std::string& text : request.features) {
    auto reference = parse_reference(text);
    if (!reference.ok()) return invalid_argument("features: " + reference.error().message);
    wanted.push_back(std::move(*reference));
  }
  if (wanted.empty()) return invalid_argument("features: must name at least one feature, or feature_service a service");
  search.view = wanted.front().view;
  for (const FeatureReference& reference : wanted) {
    if (reference.view != search.view)
      return invalid_argument("features: must be of one feature view, and are of " + shown(search.view) + " and " +
                              shown(reference.view));
    search.features.push_back(reference.feature);
  }
  ASSIGN_OR_RETURN(SearchAnswer found, this->search(search));
  OnlineAnswer answer;
  for (std::size_t i = 0; i < found.entities.size(); ++i) {
    EntityColumn& column = answer.entities.emplace_back();
    column.name = found.entities[i].name;
    for (const SearchHit& hit : found.hits) {
      std::string text;
      append_value(text, hit.entities[i], found.entities[i].type);
      column.values.push_back(json::parse(text));
    }
  }
  for (std::size_t i = 0; i < found.features.size(); ++i) {
    OnlineColumn& column = answer.features.emplace_back();
    column.name = (request.full_names ? search.view + "__" : "") + found.features[i].name;
    column.type = found.features[i].type;
    for (SearchHit& hit : found.hits) {
      const bool present = hit.features[i].state == CellState::present;
      column.statuses.push_back(present ? FieldStatus::present : FieldStatus::null_value);
      column.values.push_back(std::move(hit.features[i].value));
    }
  }
  OnlineColumn& distance = answer.features.emplace_back();
  distance.name = "distance";
  distance.type = {model::FeatureScalar::float64, false};
  answer.event_ms.emplace_back();
  answer.stale.emplace_back();
  for (const SearchHit& hit : found.hits) {
    distance.statuses.push_back(FieldStatus::present);
    distance.values.emplace_back(hit.distance);
    answer.event_ms.front().push_back(hit.event_ms);
  }
  return answer;
}

std::string to_json(const SearchAnswer& answer) {
  constexpr model::FeatureType kNumber{model::FeatureScalar::float64, false};
  std::string out = "{\"results\":[";
  for (const SearchHit& hit : answer.hits) {
    out += out.back() == '[' ? "{\"entities\":{" : ",{\"entities\":{";
    for (std::size_t i = 0; i < answer.entities.size(); ++i) {
      if (i > 0) out += ',';
      append_quoted(out, answer.entities[i].name);
      out += ':';
      append_value(out, hit.entities[i], answer.entities[i].type);
    }
    out += "},\"distance\":";
    append_value(out, FeatureValue(hit.distance), kNumber);
    out += ",\"score\":";
    append_value(out, FeatureValue(hit.score), kNumber);
    out += ",\"features\":{";
    for (std::size_t i = 0; i < answer.features.size(); ++i) {
      if (i > 0) out += ',';
      append_quoted(out, answer.features[i].name);
      out += ':';
      append_value(out, hit.features[i].value, answer.features[i].type);
    }
    out += "}}";
  }
  out += "],\"exact\":";
  out += answer.exact ? "true}" : "false}";
  return out;
}

}  // namespace thaw::features
