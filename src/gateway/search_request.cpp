// The bodies of searches for vectors.
#include <boost/json/parse.hpp>

#include "gateway/control_request.h"
#include "gateway/features_api.h"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kDepthMax = 8;
constexpr std::size_t kFeatureNamesMax = features::kFeaturesPerReadMax;

Result<json::object> object_of(std::string_view body) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  boost::system::error_code failed;
  json::value parsed = json::parse(body, failed, {}, options);
  if (failed || !parsed.is_object()) return invalid_argument("the request body is no JSON object");
  return std::move(parsed.get_object());
}

// The field, where it is there and not null.
const json::value* given(const json::object& object, std::string_view field) {
  const json::value* value = object.if_contains(field);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Status take_names(const json::object& object, std::vector<std::string>& names) {
  const json::value* value = given(object, "features");
  if (value == nullptr) return {};
  const Error wrong =
      invalid_argument("features: must be an array of at most " + std::to_string(kFeatureNamesMax) + " strings");
  if (!value->is_array() || value->get_array().size() > kFeatureNamesMax) return wrong;
  for (const json::value& one : value->get_array()) {
    if (!one.is_string()) return wrong;
    names.emplace_back(std::string_view(one.get_string()));
  }
  return {};
}

Status take_query(const json::object& object, std::vector<double>& query) {
  const json::value* value = given(object, "query");
  if (value == nullptr) return {};
  const Error wrong =
      invalid_argument("query: must be an array of 1 to " + std::to_string(model::kVectorDimensionsMax) + " numbers");
  if (!value->is_array() || value->get_array().empty() || value->get_array().size() > model::kVectorDimensionsMax)
    return wrong;
  for (const json::value& one : value->get_array()) {
    if (!one.is_number()) return wrong;
    query.push_back(one.to_number<double>());
  }
  return {};
}

Status take_count(const json::object& object, const char* field, std::size_t max, std::size_t& count) {
  const json::value* value = given(object, field);
  if (value == nullptr) return {};
  const auto* number = value->if_int64();
  if (number == nullptr || *number < 1 || static_cast<std::uint64_t>(*number) > max)
    return invalid_argument(std::string(field) + ": must be a whole number from 1 to " + std::to_string(max));
  count = static_cast<std::size_t>(*number);
  return {};
}

Status take_object(json::object& object, const char* field, std::optional<json::object>& taken) {
  if (given(object, field) == nullptr) return {};
  json::value& value = object.at(field);
  if (!value.is_object()) return invalid_argument(std::string(field) + ": must be an object");
  taken = std::move(value.get_object());
  return {};
}

}  // namespace

Result<features::SearchRequest> parse_search_request(std::string_view body) {
  ASSIGN_OR_RETURN(json::object object, object_of(body));
  features::SearchRequest request;
  ASSIGN_OR_RETURN(const auto view, string_of(object, "feature_view"));
  if (!view || view->empty()) return invalid_argument("feature_view: must be the name of a feature view");
  request.view = *view;
  RETURN_IF_ERROR(take_query(object, request.query));
  RETURN_IF_ERROR(take_object(object, "entities", request.entities));
  if (request.query.empty() == !request.entities)
    return invalid_argument("query: either query or entities must say what is searched for");
  RETURN_IF_ERROR(take_count(object, "top_k", features::kNeighboursMax, request.top_k));
  RETURN_IF_ERROR(take_count(object, "ef", features::kSearchEffortMax, request.effort));
  if (const json::value* approximate = given(object, "approximate")) {
    if (!approximate->is_bool()) return invalid_argument("approximate: must be true or false");
    request.approximate = approximate->get_bool();
  }
  std::optional<json::object> filter;
  RETURN_IF_ERROR(take_object(object, "filter", filter));
  if (filter) request.filter = std::move(*filter);
  RETURN_IF_ERROR(take_names(object, request.features));
  return request;
}

Result<features::DocumentsRequest> parse_documents_request(std::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, object_of(body));
  features::DocumentsRequest request;
  ASSIGN_OR_RETURN(const auto service, string_of(object, "feature_service"));
  if (service) request.service = *service;
  if (request.service.empty()) RETURN_IF_ERROR(take_names(object, request.features));
  if (given(object, "query_string") != nullptr)
    return invalid_argument("query_string: searches for text are not supported: give a query of numbers");
  RETURN_IF_ERROR(take_query(object, request.query));
  if (request.query.empty()) return invalid_argument("query: must be an array of numbers");
  RETURN_IF_ERROR(take_count(object, "top_k", features::kNeighboursMax, request.top_k));
  std::size_t version = 1;
  RETURN_IF_ERROR(take_count(object, "api_version", 2, version));
  if (const json::value* full = given(object, "full_feature_names")) {
    if (!full->is_bool()) return invalid_argument("full_feature_names: must be true or false");
    request.full_names = full->get_bool();
  }
  return request;
}

}  // namespace thaw::gateway
