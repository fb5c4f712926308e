#include "model/layer.h"

#include <algorithm>
#include <boost/json.hpp>

#include "model/version.h"

namespace thaw::model {
namespace {

namespace json = boost::json;

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kJsonBytesMax = 64 << 10;
constexpr std::size_t kListItemBytesMax = 64;

Error corrupt(std::string_view what) { return {ErrorKind::corrupt, "a stored layer is damaged: " + std::string(what)}; }

Result<std::string> text_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return corrupt(std::string(key) + " is missing or no string");
  return std::string(value->get_string());
}

Result<std::uint64_t> number_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0)
    return corrupt(std::string(key) + " is missing or no number");
  return static_cast<std::uint64_t>(value->get_int64());
}

Result<std::vector<std::string>> list_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_array()) return corrupt(std::string(key) + " is missing or no array");
  std::vector<std::string> list;
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) return corrupt(std::string(key) + " holds what is no string");
    list.emplace_back(item.get_string());
  }
  return list;
}

Status check_list(std::string_view key, const std::vector<std::string>& list, std::size_t count_max) {
  if (list.size() > count_max)
    return invalid_argument(std::string(key) + " has more than " + std::to_string(count_max) + " items");
  const auto fits = [](const std::string& item) { return !item.empty() && item.size() <= kListItemBytesMax; };
  if (std::all_of(list.begin(), list.end(), fits)) return {};
  return invalid_argument(std::string(key) + " must hold texts of 1 to " + std::to_string(kListItemBytesMax) +
                          " bytes");
}

}  // namespace

Status check_layer_name(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  if (!name.empty() && name.size() <= kLayerNameBytesMax && std::all_of(name.begin(), name.end(), fits)) return {};
  return invalid_argument("LayerName must be 1 to " + std::to_string(kLayerNameBytesMax) +
                          " letters, digits, - and _, or the ARN of a layer of this region and account");
}

Status check_layer(const LayerVersion& layer) {
  RETURN_IF_ERROR(check_layer_name(layer.name));
  RETURN_IF_ERROR(check_description(layer.description));
  if (layer.license.size() > kLayerLicenseBytesMax)
    return invalid_argument("LicenseInfo is longer than " + std::to_string(kLayerLicenseBytesMax) + " bytes");
  RETURN_IF_ERROR(check_list("CompatibleRuntimes", layer.runtimes, kLayerRuntimesMax));
  return check_list("CompatibleArchitectures", layer.architectures, kLayerArchitecturesMax);
}

std::string to_json(const LayerVersion& layer) {
  return json::serialize(json::object{
      {"format", kFormat},
      {"name", layer.name},
      {"version", static_cast<std::int64_t>(layer.version)},
      {"description", layer.description},
      {"license", layer.license},
      {"runtimes", json::array(layer.runtimes.begin(), layer.runtimes.end())},
      {"architectures", json::array(layer.architectures.begin(), layer.architectures.end())},
      {"created_at", layer.created_at},
      {"code_sha256", layer.code_sha256},
      {"code_bytes", static_cast<std::int64_t>(layer.code_bytes)},
      {"zip", json::object{{"sha256", layer.zip.sha256}, {"bytes", static_cast<std::int64_t>(layer.zip.bytes)}}},
  });
}

Result<LayerVersion> layer_from_json(std::string_view text) {
  if (text.size() > kJsonBytesMax) return corrupt("it is longer than any that is written");
  json::error_code code;
  const json::value parsed = json::parse(text, code);
  if (code || !parsed.is_object()) return corrupt("it is no JSON object");
  const json::object& object = parsed.get_object();
  ASSIGN_OR_RETURN(const std::uint64_t format, number_member(object, "format"));
  if (format != kFormat) {
    return Error{ErrorKind::unsupported, "a stored layer has format " + std::to_string(format) +
                                             "; this version of Thaw reads format " + std::to_string(kFormat)};
  }
  LayerVersion layer;
  ASSIGN_OR_RETURN(layer.name, text_member(object, "name"));
  ASSIGN_OR_RETURN(layer.version, number_member(object, "version"));
  ASSIGN_OR_RETURN(layer.description, text_member(object, "description"));
  ASSIGN_OR_RETURN(layer.license, text_member(object, "license"));
  ASSIGN_OR_RETURN(layer.runtimes, list_member(object, "runtimes"));
  ASSIGN_OR_RETURN(layer.architectures, list_member(object, "architectures"));
  ASSIGN_OR_RETURN(layer.created_at, text_member(object, "created_at"));
  ASSIGN_OR_RETURN(layer.code_sha256, text_member(object, "code_sha256"));
  ASSIGN_OR_RETURN(layer.code_bytes, number_member(object, "code_bytes"));
  const json::value* zip = object.if_contains("zip");
  if (zip == nullptr || !zip->is_object()) return corrupt("zip is missing or no object");
  ASSIGN_OR_RETURN(layer.zip.sha256, text_member(zip->get_object(), "sha256"));
  ASSIGN_OR_RETURN(layer.zip.bytes, number_member(zip->get_object(), "bytes"));
  if (auto status = check_layer(layer); !status) return corrupt(status.error().message);
  if (layer.version == 0) return corrupt("version is 0");
  return layer;
}

}  // namespace thaw::model
