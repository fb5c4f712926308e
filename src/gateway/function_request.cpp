#include "gateway/function_request.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "gateway/control_request.h"
#include "model/fields.h"
#include "model/manifest.h"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kShownBytesMax = 256;

// Set by Lambda itself ("Defined runtime environment variables", AWS Lambda Developer Guide).
constexpr std::string_view kReservedVariables[] = {
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
};

// Members that ask for what Thaw does not have.
constexpr std::string_view kUnsupported[] = {
    "VpcConfig", "FileSystemConfigs", "ImageConfig", "CodeSigningConfigArn", "KMSKeyArn", "DeadLetterConfig",
};

Error wrong_type(std::string_view member, std::string_view wanted) {
  return {ErrorKind::invalid_argument, std::string(member) + " must be " + std::string(wanted),
          "SerializationException"};
}

// nullptr when it is missing or null.
const json::value* given(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<const json::object*> object_of(const json::object& object, std::string_view key) {
  const json::value* value = given(object, key);
  if (value == nullptr) return static_cast<const json::object*>(nullptr);
  if (!value->is_object()) return wrong_type(key, "an object");
  return &value->get_object();
}

Result<std::optional<std::string_view>> text_of(const json::object& object, std::string_view key) {
  const json::value* value = given(object, key);
  if (value == nullptr) return std::optional<std::string_view>();
  if (!value->is_string()) return wrong_type(key, "a string");
  return std::optional<std::string_view>(value->get_string());
}

struct Range {
  std::uint32_t min;
  std::uint32_t max;
};

// member: as Lambda's messages spell it.
Status apply_number(const json::object& object, std::string_view key, std::string_view member, Range range,
                    std::uint32_t& field) {
  const json::value* value = given(object, key);
  if (value == nullptr) return {};
  if (!value->is_int64() && !value->is_uint64()) return wrong_type(key, "a whole number");
  const std::string text = json::serialize(*value);
  const bool below = value->is_int64() && value->get_int64() < std::int64_t{range.min};
  if (below)
    return validation_error(member, text,
                            "Member must have value greater than or equal to " + std::to_string(range.min));
  if (value->is_uint64() || value->get_int64() > std::int64_t{range.max})
    return validation_error(member, text, "Member must have value less than or equal to " + std::to_string(range.max));
  field = static_cast<std::uint32_t>(value->get_int64());
  return {};
}

bool is_role(std::string_view role) {
  // arn:PARTITION:iam::ACCOUNT:role/NAME
  if (!role.starts_with("arn:aws")) return false;
  role.remove_prefix(std::min(role.size(), role.find(':', 4)));
  constexpr std::string_view kIam = ":iam::";
  if (!role.starts_with(kIam)) return false;
  role.remove_prefix(kIam.size());
  const std::string_view account = role.substr(0, 12);
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (account.size() != 12 || !std::all_of(account.begin(), account.end(), digit)) return false;
  role.remove_prefix(account.size());
  if (!role.starts_with(":role")) return false;
  role.remove_prefix(5);
  const auto fits = [&](char c) {
    return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("+=,.@-_/").find(c) != std::string_view::npos;
  };
  return role.size() > 1 && std::all_of(role.begin(), role.end(), fits);
}

Status apply_texts(const json::object& body, model::FunctionConfig& config) {
  ASSIGN_OR_RETURN(const auto description, text_of(body, "Description"));
  if (description) {
    if (description->size() > model::kFunctionDescriptionBytesMax)
      return validation_error("description", *description, "Member must have length less than or equal to 256");
    config.description = *description;
  }
  ASSIGN_OR_RETURN(const auto handler, text_of(body, "Handler"));
  if (handler) {
    if (handler->size() > model::kHandlerBytesMax)
      return validation_error("handler", *handler, "Member must have length less than or equal to 128");
    if (handler->empty() || handler->find_first_of(" \t\r\n\v\f") != std::string_view::npos)
      return validation_error("handler", *handler, "Member must satisfy regular expression pattern: [^\\s]+");
    config.handler = *handler;
  }
  ASSIGN_OR_RETURN(const auto role, text_of(body, "Role"));
  if (role) {
    if (!is_role(*role))
      return validation_error("role", *role,
                              "Member must satisfy regular expression pattern: "
                              "arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+");
    config.role = *role;
  }
  return {};
}

// The lines of the platform are always there, as text, and the log is the function's own.
Status apply_logging(const json::object& body, model::FunctionConfig& config) {
  ASSIGN_OR_RETURN(const json::object* logging, object_of(body, "LoggingConfig"));
  if (logging == nullptr) return {};
  ASSIGN_OR_RETURN(const auto format, text_of(*logging, "LogFormat"));
  ASSIGN_OR_RETURN(const auto level, text_of(*logging, "ApplicationLogLevel"));
  ASSIGN_OR_RETURN(const auto system, text_of(*logging, "SystemLogLevel"));
  ASSIGN_OR_RETURN(const auto group, text_of(*logging, "LogGroup"));
  if (system && *system != "INFO") return invalid_argument("LoggingConfig.SystemLogLevel: only INFO is supported");
  if (group && *group != "/aws/lambda/" + config.name)
    return invalid_argument("LoggingConfig.LogGroup: only /aws/lambda/" + config.name + " is supported");
  if (format) {
    config.log_format = *format;
    if (*format != "JSON") config.log_level.clear();
  }
  if (level) config.log_level = *level;
  return {};
}

Status check_tracing(const json::object& body) {
  ASSIGN_OR_RETURN(const json::object* tracing, object_of(body, "TracingConfig"));
  if (tracing == nullptr) return {};
  ASSIGN_OR_RETURN(const auto mode, text_of(*tracing, "Mode"));
  if (mode && *mode != "PassThrough")
    return invalid_argument("TracingConfig.Mode " + std::string(mode->substr(0, kShownBytesMax)) +
                            " is not supported: only PassThrough");
  return {};
}

Status apply_runtime(const json::object& body, model::FunctionConfig& config) {
  ASSIGN_OR_RETURN(const auto runtime, text_of(body, "Runtime"));
  if (!runtime) return {};
  if (!model::is_managed_runtime(*runtime) && *runtime != "provided" && *runtime != "provided.al2" &&
      *runtime != "provided.al2023") {
    return invalid_argument("Value " + std::string(runtime->substr(0, kShownBytesMax)) +
                            " at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
                            "[python3.N, nodejsN.x, provided, provided.al2, provided.al2023] or be a valid ARN");
  }
  config.runtime = *runtime;
  return {};
}

bool is_variable_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return name.size() >= 2 && letter(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_'; });
}

Status apply_variables(const json::object& body, model::FunctionConfig& config) {
  ASSIGN_OR_RETURN(const json::object* environment, object_of(body, "Environment"));
  if (environment == nullptr) return {};
  ASSIGN_OR_RETURN(const json::object* variables, object_of(*environment, "Variables"));
  std::map<std::string, std::string> fresh;
  std::string reserved;
  std::size_t bytes = 0;
  for (const auto& [name, value] : variables == nullptr ? json::object() : *variables) {
    if (!value.is_string()) return wrong_type("Environment.Variables", "an object of strings");
    const bool is_reserved =
        std::find(std::begin(kReservedVariables), std::end(kReservedVariables), name) != std::end(kReservedVariables);
    if (is_reserved) {
      reserved += (reserved.empty() ? "" : ", ") + std::string(name);
    } else if (!is_variable_name(name)) {
      return validation_error("environment.variables", name,
                              "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: "
                              "[a-zA-Z]([a-zA-Z0-9_])+]");
    }
    bytes += name.size() + value.get_string().size();
    fresh.emplace(name, value.get_string());
  }
  constexpr std::string_view kUnable =
      "Lambda was unable to configure your environment variables because the environment variables you have provided ";
  if (!reserved.empty()) {
    return invalid_argument(std::string(kUnable) +
                            "contains reserved keys that are currently not supported for modification. Reserved keys "
                            "used in this request: " +
                            reserved);
  }
  if (bytes > kVariablesBytesMax) {
    return invalid_argument(std::string(kUnable) +
                            "exceeded the 4KB limit. Bytes of names and values: " + std::to_string(bytes));
  }
  config.environment = std::move(fresh);
  return {};
}

Status apply_snap_start(const json::object& body, model::FunctionConfig& config) {
  ASSIGN_OR_RETURN(const json::object* snap_start, object_of(body, "SnapStart"));
  if (snap_start == nullptr) return {};
  ASSIGN_OR_RETURN(const auto apply_on, text_of(*snap_start, "ApplyOn"));
  if (!apply_on) return {};
  if (*apply_on != "PublishedVersions" && *apply_on != "None")
    return validation_error("snapStart.applyOn", *apply_on,
                            "Member must satisfy enum value set: [PublishedVersions, None]");
  config.snapshot = *apply_on == "PublishedVersions";
  return {};
}

bool is_empty(const json::value& value) {
  if (value.is_string()) return value.get_string().empty();
  if (value.is_array()) return value.get_array().empty();
  if (!value.is_object()) return false;
  return std::all_of(value.get_object().begin(), value.get_object().end(),
                     [](const auto& member) { return member.value().is_null() || is_empty(member.value()); });
}

Status check_machine(const json::object& body) {
  for (const std::string_view key : kUnsupported) {
    const json::value* value = given(body, key);
    if (value != nullptr && !is_empty(*value)) return invalid_argument(std::string(key) + " is not supported");
  }
  ASSIGN_OR_RETURN(const auto type, text_of(body, "PackageType"));
  if (type && *type != "Zip") {
    if (*type != "Image")
      return validation_error("packageType", *type, "Member must satisfy enum value set: [Image, Zip]");
    return invalid_argument("PackageType Image is not supported: functions are zip files");
  }
  return check_architectures(body);
}

}  // namespace

Status check_architectures(const json::object& body) {
  const json::value* architectures = given(body, "Architectures");
  if (architectures == nullptr) return {};
  if (!architectures->is_array()) return wrong_type("Architectures", "an array");
  const json::array& list = architectures->get_array();
  if (list.size() != 1 || !list.front().is_string() ||
      (list.front().get_string() != "x86_64" && list.front().get_string() != "arm64")) {
    return validation_error("architectures", json::serialize(list).substr(0, kShownBytesMax),
                            "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64]]");
  }
  if (list.front().get_string() == "x86_64") return {};
  return invalid_argument("Architectures arm64 is not supported: this machine is x86_64");
}

Error validation_error(std::string_view member, std::optional<std::string_view> value, std::string_view constraint) {
  const std::string shown = value ? "'" + std::string(value->substr(0, kShownBytesMax)) + "'" : std::string("null");
  return {ErrorKind::invalid_argument,
          "1 validation error detected: Value " + shown + " at '" + std::string(member) +
              "' failed to satisfy constraint: " + std::string(constraint),
          "ValidationException"};
}

Status check_lambda_name(std::string_view name) {
  if (model::check_function_name(name).ok()) return {};
  if (name.size() > model::kNameBytesMax)
    return validation_error("functionName", name, "Member must have length less than or equal to 64");
  return validation_error(
      "functionName", name,
      "Member must satisfy regular expression pattern: "
      "(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso(b?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?"
      "([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?");
}

Result<json::object> parse_object(std::string_view text) {
  if (text.empty()) return json::object();
  json::error_code failed;
  json::value value = json::parse(text, failed);
  if (failed || !value.is_object()) {
    return Error{ErrorKind::invalid_argument,
                 "Could not parse request body into json: " + (failed ? failed.message() : "it is no object"),
                 "InvalidRequestContentException"};
  }
  return std::move(value.get_object());
}

Result<bool> bool_of(const json::object& body, std::string_view key, bool otherwise) {
  const json::value* value = given(body, key);
  if (value == nullptr) return otherwise;
  if (!value->is_bool()) return wrong_type(key, "true or false");
  return value->get_bool();
}

model::FunctionConfig lambda_defaults() {
  model::FunctionConfig config;
  config.kind = model::FunctionKind::event;
  config.memory_mb = 128;
  config.timeout_s = 3;
  config.init_timeout_s = model::kEventInitTimeoutSeconds;
  return config;
}

Status check_required(const json::object& body) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kRequired{
      {{"Role", "role"}, {"Code", "code"}}};
  for (const auto& [key, member] : kRequired) {
    if (given(body, key) == nullptr) return validation_error(member, std::nullopt, "Member must not be null");
  }
  if (given(body, "Runtime") != nullptr && given(body, "Handler") != nullptr) return {};
  return invalid_argument(
      "Runtime and Handler are mandatory parameters for functions created with deployment packages.");
}

Status apply_configuration(const json::object& body, model::FunctionConfig& config) {
  RETURN_IF_ERROR(check_machine(body));
  RETURN_IF_ERROR(apply_runtime(body, config));
  RETURN_IF_ERROR(apply_texts(body, config));
  RETURN_IF_ERROR(apply_logging(body, config));
  RETURN_IF_ERROR(check_tracing(body));
  RETURN_IF_ERROR(
      apply_number(body, "Timeout", "timeout", {.min = 1, .max = model::kTimeoutSecondsMax}, config.timeout_s));
  RETURN_IF_ERROR(apply_number(body, "MemorySize", "memorySize",
                               {.min = model::kMemoryMbMin, .max = model::kMemoryMbMax}, config.memory_mb));
  ASSIGN_OR_RETURN(const json::object* storage, object_of(body, "EphemeralStorage"));
  if (storage != nullptr) {
    RETURN_IF_ERROR(apply_number(*storage, "Size", "ephemeralStorage.size",
                                 {.min = kLambdaEphemeralMbMin, .max = model::kEphemeralMbMax}, config.ephemeral_mb));
  }
  RETURN_IF_ERROR(apply_snap_start(body, config));
  return apply_variables(body, config);
}

}  // namespace thaw::gateway
