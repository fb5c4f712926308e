#include "model/settings.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <utility>

#include "model/object_reader.h"

namespace thaw::model {
namespace {

namespace json = boost::json;

constexpr std::array kAuthTypes{
    std::pair{UrlAuthType::none, std::string_view("NONE")},
    std::pair{UrlAuthType::aws_iam, std::string_view("AWS_IAM")},
};
constexpr std::array kInvokeModes{
    std::pair{InvokeMode::buffered, std::string_view("BUFFERED")},
    std::pair{InvokeMode::response_stream, std::string_view("RESPONSE_STREAM")},
};
constexpr std::array<std::string_view, 7> kMethods{"GET", "PUT", "HEAD", "POST", "PATCH", "DELETE", "*"};
constexpr std::size_t kEnumBytesMax = 32;
constexpr std::size_t kTimestampBytesMax = 40;
// A stored setting is no longer than the catalog takes.
constexpr std::size_t kStoredBytesMax = 64 * 1024;

template <class Names, class Value>
Status read_enum(ObjectReader& reader, std::string_view key, const Names& names, Value& value) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, reader.text(key, {.bytes_max = kEnumBytesMax}));
  if (!text) return {};
  std::string possible;
  for (const auto& [known, name] : names) {
    if (name == *text) {
      value = known;
      return {};
    }
    possible += (possible.empty() ? "" : " or ") + std::string(name);
  }
  return invalid_argument(reader.named(key) + " must be " + possible);
}

template <class Names, class Value>
std::string_view name_of(const Names& names, Value value) {
  for (const auto& [known, name] : names) {
    if (known == value) return name;
  }
  return {};
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

Status read_list(ObjectReader& reader, std::string_view key, ObjectReader::ListBounds bounds,
                 std::vector<std::string>& list) {
  ASSIGN_OR_RETURN(std::optional<std::vector<std::string>> given, reader.texts(key, bounds));
  if (!given) return {};
  if (!std::all_of(given->begin(), given->end(), is_printable))
    return invalid_argument(reader.named(key) + " must hold printable ASCII characters only");
  list = std::move(*given);
  return {};
}

Status read_cors(const json::object& object, std::optional<Cors>& cors) {
  ObjectReader reader(object, "Cors");
  Cors read;
  const ObjectReader::ListBounds headers{.count_max = kCorsListMax, .each = {0, kCorsHeaderBytesMax}};
  ASSIGN_OR_RETURN(const std::optional<bool> credentials, reader.flag("AllowCredentials"));
  read.allow_credentials = credentials.value_or(false);
  RETURN_IF_ERROR(read_list(reader, "AllowHeaders", headers, read.allow_headers));
  RETURN_IF_ERROR(
      read_list(reader, "AllowMethods", {.count_max = kCorsMethodsMax, .each = {0, 6}}, read.allow_methods));
  for (const std::string& method : read.allow_methods) {
    if (std::find(kMethods.begin(), kMethods.end(), method) == kMethods.end())
      return invalid_argument("Cors.AllowMethods takes GET, PUT, HEAD, POST, PATCH, DELETE and *");
  }
  RETURN_IF_ERROR(read_list(reader, "AllowOrigins", {.count_max = kCorsListMax, .each = {1, kCorsOriginBytesMax}},
                            read.allow_origins));
  RETURN_IF_ERROR(read_list(reader, "ExposeHeaders", headers, read.expose_headers));
  ASSIGN_OR_RETURN(read.max_age_s, reader.number("MaxAge", {.max = kCorsMaxAgeSecondsMax}));
  RETURN_IF_ERROR(reader.finish());
  cors = object.empty() ? std::nullopt : std::optional<Cors>(std::move(read));
  return {};
}

Status read_url(ObjectReader& reader, FunctionUrlConfig& config) {
  RETURN_IF_ERROR(read_enum(reader, "AuthType", kAuthTypes, config.auth_type));
  RETURN_IF_ERROR(read_enum(reader, "InvokeMode", kInvokeModes, config.invoke_mode));
  ASSIGN_OR_RETURN(const json::object* const cors, reader.object("Cors"));
  if (cors == nullptr) return {};
  return read_cors(*cors, config.cors);
}

json::object cors_json(const Cors& cors) {
  json::object object;
  const auto put = [&](std::string_view key, const std::vector<std::string>& list) {
    if (!list.empty()) object[key] = json::array(list.begin(), list.end());
  };
  object["AllowCredentials"] = cors.allow_credentials;
  put("AllowHeaders", cors.allow_headers);
  put("AllowMethods", cors.allow_methods);
  put("AllowOrigins", cors.allow_origins);
  put("ExposeHeaders", cors.expose_headers);
  if (cors.max_age_s) object["MaxAge"] = *cors.max_age_s;
  return object;
}

Status read_destination(const json::object& destinations, std::string_view side, std::string& arn) {
  ObjectReader reader(destinations, "DestinationConfig");
  ASSIGN_OR_RETURN(const json::object* const object, reader.object(side));
  if (object == nullptr) return {};
  ObjectReader inner(*object, reader.named(side));
  ASSIGN_OR_RETURN(const std::optional<std::string> given,
                   inner.text("Destination", {.bytes_max = kDestinationBytesMax}));
  RETURN_IF_ERROR(inner.finish());
  if (given && !given->empty()) {
    if (const auto parsed = parse_destination(*given); !parsed.ok())
      return invalid_argument(inner.named("Destination") + " " + parsed.error().message);
  }
  arn = given.value_or("");
  return {};
}

Status read_event_invoke(ObjectReader& reader, EventInvokeConfig& config) {
  ASSIGN_OR_RETURN(const auto age,
                   reader.number("MaximumEventAgeInSeconds", {.min = kEventAgeSecondsMin, .max = kEventAgeSecondsMax}));
  if (age) config.maximum_event_age_s = age;
  ASSIGN_OR_RETURN(const auto attempts, reader.number("MaximumRetryAttempts", {.max = kRetryAttemptsMax}));
  if (attempts) config.maximum_retry_attempts = attempts;
  ASSIGN_OR_RETURN(const json::object* const destinations, reader.object("DestinationConfig"));
  if (destinations == nullptr) return {};
  RETURN_IF_ERROR(read_destination(*destinations, "OnSuccess", config.on_success));
  RETURN_IF_ERROR(read_destination(*destinations, "OnFailure", config.on_failure));
  for (const auto& member : *destinations) {
    if (member.key() != "OnSuccess" && member.key() != "OnFailure")
      return invalid_argument("DestinationConfig takes OnSuccess and OnFailure");
  }
  return {};
}

Error corrupt(std::string_view setting, std::string_view why) {
  return {ErrorKind::corrupt, "a stored " + std::string(setting) + " is damaged: " + std::string(why)};
}

Result<json::object> stored_object(std::string_view setting, std::string_view text) {
  if (text.size() > kStoredBytesMax) return corrupt(setting, "it is longer than any that is written");
  json::error_code code;
  json::value parsed = json::parse(text, code);
  if (code || !parsed.is_object()) return corrupt(setting, "it is no JSON object");
  return std::move(parsed.get_object());
}

Status read_stored_url(const json::object& object, FunctionUrlConfig& config) {
  ObjectReader reader(object);
  RETURN_IF_ERROR(read_url(reader, config));
  ASSIGN_OR_RETURN(const auto created, reader.text("CreationTime", {.bytes_max = kTimestampBytesMax}));
  ASSIGN_OR_RETURN(const auto modified, reader.text("LastModifiedTime", {.bytes_max = kTimestampBytesMax}));
  if (!reader.has("AuthType") || !created || !modified) return invalid_argument("a member is missing");
  config.creation_time = *created;
  config.last_modified_time = *modified;
  return reader.finish();
}

Status read_stored_event_invoke(const json::object& object, EventInvokeConfig& config) {
  ObjectReader reader(object);
  RETURN_IF_ERROR(read_event_invoke(reader, config));
  ASSIGN_OR_RETURN(const auto modified, reader.number("LastModified", {.max = UINT32_MAX}));
  if (!modified) return invalid_argument("LastModified is missing");
  config.last_modified_s = *modified;
  return reader.finish();
}

Status read_provisioned(ObjectReader& reader, ProvisionedConcurrency& provisioned) {
  ASSIGN_OR_RETURN(const auto given,
                   reader.number("ProvisionedConcurrentExecutions", {.min = 1, .max = kConcurrentExecutionsMax}));
  if (!given) return invalid_argument("ProvisionedConcurrentExecutions is missing");
  provisioned.executions = *given;
  return {};
}

Status read_stored_provisioned(const json::object& object, ProvisionedConcurrency& provisioned) {
  ObjectReader reader(object);
  RETURN_IF_ERROR(read_provisioned(reader, provisioned));
  ASSIGN_OR_RETURN(const auto modified, reader.text("LastModified", {.bytes_max = kTimestampBytesMax}));
  if (!modified) return invalid_argument("LastModified is missing");
  provisioned.last_modified = *modified;
  return reader.finish();
}

}  // namespace

std::string_view to_string(UrlAuthType type) { return name_of(kAuthTypes, type); }
std::string_view to_string(InvokeMode mode) { return name_of(kInvokeModes, mode); }

Status apply(const json::object& body, FunctionUrlConfig& config) {
  ObjectReader reader(body);
  RETURN_IF_ERROR(read_url(reader, config));
  return reader.finish();
}

json::object to_json(const FunctionUrlConfig& config) {
  json::object object{{"AuthType", to_string(config.auth_type)},
                      {"InvokeMode", to_string(config.invoke_mode)},
                      {"CreationTime", config.creation_time},
                      {"LastModifiedTime", config.last_modified_time}};
  if (config.cors) object["Cors"] = cors_json(*config.cors);
  return object;
}

Result<FunctionUrlConfig> function_url_from_json(std::string_view text) {
  ASSIGN_OR_RETURN(const json::object object, stored_object("function URL", text));
  FunctionUrlConfig config;
  if (const Status read = read_stored_url(object, config); !read.ok())
    return corrupt("function URL", read.error().message);
  return config;
}

Status apply(const json::object& body, EventInvokeConfig& config) {
  ObjectReader reader(body);
  RETURN_IF_ERROR(read_event_invoke(reader, config));
  RETURN_IF_ERROR(reader.finish());
  if (reader.has("MaximumEventAgeInSeconds") || reader.has("MaximumRetryAttempts") || reader.has("DestinationConfig"))
    return {};
  return invalid_argument(
      "at least one of MaximumEventAgeInSeconds, MaximumRetryAttempts and DestinationConfig must be there");
}

json::object to_json(const EventInvokeConfig& config) {
  const auto destination = [](const std::string& arn) {
    json::object object;
    if (!arn.empty()) object["Destination"] = arn;
    return object;
  };
  json::object destinations;
  destinations["OnSuccess"] = destination(config.on_success);
  destinations["OnFailure"] = destination(config.on_failure);
  json::object object;
  object["DestinationConfig"] = std::move(destinations);
  object["LastModified"] = config.last_modified_s;
  if (config.maximum_event_age_s) object["MaximumEventAgeInSeconds"] = *config.maximum_event_age_s;
  if (config.maximum_retry_attempts) object["MaximumRetryAttempts"] = *config.maximum_retry_attempts;
  return object;
}

Result<EventInvokeConfig> event_invoke_from_json(std::string_view text) {
  ASSIGN_OR_RETURN(const json::object object, stored_object("event invoke configuration", text));
  EventInvokeConfig config;
  if (const Status read = read_stored_event_invoke(object, config); !read.ok())
    return corrupt("event invoke configuration", read.error().message);
  return config;
}

Status apply(const json::object& body, ReservedConcurrency& reserved) {
  ObjectReader reader(body);
  ASSIGN_OR_RETURN(const auto given, reader.number("ReservedConcurrentExecutions", {.max = kConcurrentExecutionsMax}));
  if (!given) return invalid_argument("ReservedConcurrentExecutions is missing");
  reserved.executions = *given;
  return reader.finish();
}

json::object to_json(const ReservedConcurrency& reserved) {
  return {{"ReservedConcurrentExecutions", reserved.executions}};
}

Result<ReservedConcurrency> reserved_concurrency_from_json(std::string_view text) {
  ASSIGN_OR_RETURN(const json::object object, stored_object("reserved concurrency", text));
  ReservedConcurrency reserved;
  if (const Status read = apply(object, reserved); !read.ok())
    return corrupt("reserved concurrency", read.error().message);
  return reserved;
}

Status apply(const json::object& body, ProvisionedConcurrency& provisioned) {
  ObjectReader reader(body);
  RETURN_IF_ERROR(read_provisioned(reader, provisioned));
  return reader.finish();
}

json::object to_json(const ProvisionedConcurrency& provisioned) {
  return {{"ProvisionedConcurrentExecutions", provisioned.executions}, {"LastModified", provisioned.last_modified}};
}

Result<ProvisionedConcurrency> provisioned_concurrency_from_json(std::string_view text) {
  ASSIGN_OR_RETURN(const json::object object, stored_object("provisioned concurrency", text));
  ProvisionedConcurrency provisioned;
  if (const Status read = read_stored_provisioned(object, provisioned); !read.ok())
    return corrupt("provisioned concurrency", read.error().message);
  return provisioned;
}

}  // namespace thaw::model
