// The bodies of Feast's requests.
#include <boost/json/parse.hpp>

#include "gateway/features_api.h"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kDepthMax = 8;

Result<std::vector<std::string>> strings_of(const json::value& value, std::string_view field) {
  const Error wrong = invalid_argument(std::string(field) + ": must be an array of strings");
  if (!value.is_array()) return wrong;
  if (value.get_array().size() > features::kFeaturesPerReadMax)
    return invalid_argument(std::string(field) + ": at most " + std::to_string(features::kFeaturesPerReadMax) +
                            " may be asked for at once");
  std::vector<std::string> strings;
  strings.reserve(value.get_array().size());
  for (const json::value& item : value.get_array()) {
    if (!item.is_string()) return wrong;
    strings.emplace_back(std::string_view(item.get_string()));
  }
  return strings;
}

}  // namespace

Result<features::OnlineRequest> parse_online_request(std::string_view body) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  boost::system::error_code failed;
  json::value parsed = json::parse(body, failed, {}, options);
  if (failed || !parsed.is_object()) return invalid_argument("the request body is no JSON object");
  json::object& object = parsed.get_object();
  features::OnlineRequest request;
  const json::value* features = object.if_contains("features");
  const json::value* service = object.if_contains("feature_service");
  if (service != nullptr && !service->is_null()) {
    if (!service->is_string()) return invalid_argument("feature_service: must be a string");
    request.service = std::string_view(service->get_string());
  }
  if (request.service.empty() && features != nullptr && !features->is_null()) {
    ASSIGN_OR_RETURN(request.features, strings_of(*features, "features"));
  }
  if (const json::value* full = object.if_contains("full_feature_names")) {
    if (!full->is_bool()) return invalid_argument("full_feature_names: must be true or false");
    request.full_names = full->get_bool();
  }
  json::value* entities = object.if_contains("entities");
  if (entities == nullptr || !entities->is_object())
    return invalid_argument("entities: must be an object of arrays, like {\"driver_id\": [1001]}");
  for (auto& column : entities->get_object()) {
    if (!column.value().is_array())
      return invalid_argument("entities: '" + std::string(std::string_view(column.key()).substr(0, 256)) +
                              "' must be an array of values");
    request.entities.push_back({std::string(std::string_view(column.key())), std::move(column.value().get_array())});
  }
  return request;
}

}  // namespace thaw::gateway
