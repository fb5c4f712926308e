#include <algorithm>
#include <array>
#include <string>

#include "model/fields.h"
#include "model/layer.h"
#include "model/manifest.h"

namespace thaw::model {
namespace {

constexpr std::string_view kTasksOnnx[] = {"question-answering", "image-classification"};
constexpr std::string_view kWarmUpMethods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

Status check_command(const std::vector<std::string>& command) {
  if (command.size() > kCommandArgumentsMax) {
    return invalid_argument("command has " + std::to_string(command.size()) + " arguments; at most " +
                            std::to_string(kCommandArgumentsMax) + " are possible");
  }
  if (command.front().empty()) return invalid_argument("command begins with an empty argument: name a program");
  std::size_t bytes = 0;
  for (const std::string& argument : command) {
    if (argument.find('\0') != std::string::npos) return invalid_argument("command holds a NUL character");
    bytes += argument.size() + 1;
  }
  if (bytes > kCommandBytesMax) {
    return Error{ErrorKind::too_large, "command is " + std::to_string(bytes) + " bytes; at most " +
                                           std::to_string(kCommandBytesMax) + " are possible"};
  }
  return {};
}

Status check_engine(const FunctionConfig& config) {
  if (config.engine.empty()) {
    if (!config.task.empty()) return invalid_argument("task belongs to an engine, but the function has a command");
    return {};
  }
  if (config.engine == kEngineLlama) {
    if (!config.task.empty()) return invalid_argument("task belongs to the engine thaw-onnx, not to llama-server");
    if (config.model.empty()) {
      return invalid_argument(
          "model is missing: the engine llama-server needs a GGUF file, like model = "
          "\"model.gguf\" or model = \"s3://bucket/key.gguf\"");
    }
    return {};
  }
  if (config.engine != kEngineOnnx) {
    return invalid_argument("engine \"" + config.engine.substr(0, 100) +
                            "\" is unknown; the engines are: thaw-onnx, llama-server");
  }
  if (!config.task.empty() &&
      std::find(std::begin(kTasksOnnx), std::end(kTasksOnnx), config.task) == std::end(kTasksOnnx)) {
    return invalid_argument("task \"" + config.task.substr(0, 100) +
                            "\" is unknown; the tasks of thaw-onnx are: question-answering, "
                            "image-classification");
  }
  return {};
}

// A path inside the package, as its entries are named: relative, and never upwards.
bool is_inner_path(std::string_view path) {
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part == ".." || part == "." || (part.empty() && end != path.size())) return false;
    at = end + 1;
  }
  return true;
}

Status check_model(const FunctionConfig& config) {
  if (config.model.size() > kModelBytesMax) {
    return Error{ErrorKind::too_large, "model is " + std::to_string(config.model.size()) + " bytes; at most " +
                                           std::to_string(kModelBytesMax) + " are possible"};
  }
  const auto is_control = [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; };
  if (std::any_of(config.model.begin(), config.model.end(), is_control))
    return invalid_argument("model holds a control character");
  if (!is_model_address(config.model) && !is_inner_path(config.model)) {
    return invalid_argument("model = \"" + config.model.substr(0, 100) +
                            "\" leads out of the package: give a path inside of it, or an address such as "
                            "s3://bucket/key.gguf");
  }
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (!config.model_sha256.empty() && (config.model_sha256.size() != 64 ||
                                       !std::all_of(config.model_sha256.begin(), config.model_sha256.end(), is_hex)))
    return invalid_argument("model_sha256 must be 64 digits of lower-case hexadecimal");
  if (!config.model_sha256.empty() && config.model.empty())
    return invalid_argument("model_sha256 is given, but no model");
  return {};
}

Status check_llama(const FunctionConfig& config) {
  if (config.engine != kEngineLlama) {
    const char* key = config.context != 0                ? "context"
                      : !config.system_prompt.empty()    ? "system_prompt"
                      : !config.engine_arguments.empty() ? "engine_arguments"
                                                         : nullptr;
    if (key != nullptr) return invalid_argument(std::string(key) + " belongs to the engine llama-server");
    return {};
  }
  if (config.context > kContextMax) {
    return invalid_argument("context = " + std::to_string(config.context) + " is out of range: 0 to " +
                            std::to_string(kContextMax));
  }
  if (config.system_prompt.size() > kSystemPromptBytesMax) {
    return Error{ErrorKind::too_large, "system_prompt is " + std::to_string(config.system_prompt.size()) +
                                           " bytes; at most " + std::to_string(kSystemPromptBytesMax) +
                                           " are possible"};
  }
  if (config.engine_arguments.size() > kEngineArgumentsMax) {
    return Error{ErrorKind::too_large, "engine_arguments has " + std::to_string(config.engine_arguments.size()) +
                                           " items; at most " + std::to_string(kEngineArgumentsMax) + " are possible"};
  }
  std::size_t bytes = 0;
  for (const std::string& argument : config.engine_arguments) {
    if (argument.find('\0') != std::string::npos) return invalid_argument("engine_arguments holds a NUL character");
    bytes += argument.size() + 1;
  }
  if (bytes > kCommandBytesMax) {
    return Error{ErrorKind::too_large, "engine_arguments is " + std::to_string(bytes) + " bytes; at most " +
                                           std::to_string(kCommandBytesMax) + " are possible"};
  }
  return {};
}

bool is_reserved(std::string_view name) {
  return name == "PORT" || name == "_HANDLER" || name.starts_with("AWS_LAMBDA_") || name.starts_with("THAW_");
}

Status check_variable(const std::string& name, const std::string& value) {
  const std::string shown = name.substr(0, 100);
  const auto fits = [](char c) { return is_letter_or_digit(c) || c == '_'; };
  if (name.empty() || name.size() > kEnvironmentNameBytesMax || !std::all_of(name.begin(), name.end(), fits) ||
      (name[0] >= '0' && name[0] <= '9')) {
    return invalid_argument("environment: \"" + shown +
                            "\" is no variable name; use letters, digits and _, no digit first, at most " +
                            std::to_string(kEnvironmentNameBytesMax) + " characters");
  }
  if (is_reserved(name)) {
    return invalid_argument("environment: " + shown +
                            " is set by Thaw; PORT, _HANDLER, AWS_LAMBDA_* and THAW_* are reserved");
  }
  if (value.find('\0') != std::string::npos)
    return invalid_argument("environment: " + shown + " holds a NUL character");
  return {};
}

Status check_environment(const FunctionConfig& config) {
  if (config.environment.size() > kEnvironmentVariablesMax) {
    return Error{ErrorKind::too_large, "environment has " + std::to_string(config.environment.size()) +
                                           " variables; at most " + std::to_string(kEnvironmentVariablesMax) +
                                           " are possible"};
  }
  std::size_t bytes = 0;
  for (const auto& [name, value] : config.environment) {
    RETURN_IF_ERROR(check_variable(name, value));
    bytes += name.size() + value.size();
  }
  if (bytes > kEnvironmentBytesMax) {
    return Error{ErrorKind::too_large, "environment is " + std::to_string(bytes) +
                                           " bytes, names and values together; at most " +
                                           std::to_string(kEnvironmentBytesMax) + " are possible"};
  }
  return {};
}

Status check_path(const std::string& key, const std::string& path) {
  const auto visible = [](char c) { return c > ' ' && c < '\x7f'; };
  if (path.empty() || path[0] != '/' || path.size() > kReadinessPathBytesMax ||
      !std::all_of(path.begin(), path.end(), visible)) {
    return invalid_argument(key + " must begin with / and hold only visible ASCII characters, at most " +
                            std::to_string(kReadinessPathBytesMax));
  }
  return {};
}

Status check_warm_up(const std::vector<WarmUpRequest>& requests) {
  if (requests.size() > kWarmUpRequestsMax) {
    return Error{ErrorKind::too_large, "warm_up has " + std::to_string(requests.size()) + " requests; at most " +
                                           std::to_string(kWarmUpRequestsMax) + " are possible"};
  }
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const WarmUpRequest& request = requests[i];
    const std::string key = "warm_up[" + std::to_string(i) + "].";
    if (std::find(std::begin(kWarmUpMethods), std::end(kWarmUpMethods), request.method) == std::end(kWarmUpMethods)) {
      return invalid_argument(key + "method \"" + request.method.substr(0, 100) +
                              "\" is not possible; the methods are: GET, POST, PUT, PATCH, DELETE");
    }
    RETURN_IF_ERROR(check_path(key + "path", request.path));
    const auto printable = [](char c) { return c >= ' ' && c < '\x7f'; };
    if (request.content_type.empty() || request.content_type.size() > kContentTypeBytesMax ||
        !std::all_of(request.content_type.begin(), request.content_type.end(), printable)) {
      return invalid_argument(key + "content_type must be 1 to " + std::to_string(kContentTypeBytesMax) +
                              " printable ASCII characters");
    }
    bytes += request.path.size() + request.body.size() + request.content_type.size();
  }
  if (bytes > kWarmUpBytesMax) {
    return Error{ErrorKind::too_large, "warm_up is " + std::to_string(bytes) +
                                           " bytes, paths, types and bodies together; at most " +
                                           std::to_string(kWarmUpBytesMax) + " are possible"};
  }
  return {};
}

bool is_version(std::string_view text, std::string_view before, std::string_view behind) {
  if (!text.starts_with(before) || !text.ends_with(behind) || text.size() <= before.size() + behind.size())
    return false;
  text = text.substr(before.size(), text.size() - before.size() - behind.size());
  return text.size() <= 3 && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Status check_runtime(const FunctionConfig& config) {
  const std::string& runtime = config.runtime;
  const bool managed = is_managed_runtime(runtime);
  if (!managed && runtime != "provided" && runtime != "provided.al2" && runtime != "provided.al2023") {
    return invalid_argument("runtime \"" + runtime.substr(0, kRuntimeBytesMax) +
                            "\" is unknown; the runtimes are python3.N, nodejsN.x, and provided.al2023, which runs the "
                            "package's file bootstrap");
  }
  if (managed && config.handler.empty())
    return invalid_argument("handler is missing: runtime " + runtime + " needs one, like app.handler");
  return {};
}

// What runs: a command or an engine of a web function; a command or a runtime of an event function.
Status check_kind(const FunctionConfig& config) {
  const bool event = config.kind == FunctionKind::event;
  const int given = !config.command.empty() + !config.engine.empty() + !config.runtime.empty();
  if (event && given != 1)
    return invalid_argument("an event function needs either a runtime, like runtime = \"python3.11\", or a command");
  if (event && !config.engine.empty())
    return invalid_argument("engine belongs to web functions: an event function has a runtime or a command");
  if (event) {
    const char* of_web = !config.warm_up.empty()                ? "warm_up"
                         : !config.before_snapshot_path.empty() ? "before_snapshot_path"
                         : !config.after_restore_path.empty()   ? "after_restore_path"
                                                                : nullptr;
    if (of_web != nullptr)
      return invalid_argument(std::string(of_web) + " belongs to web functions: the hooks of event functions are code");
  }
  if (event && !config.runtime.empty()) return check_runtime(config);
  if (event) return {};
  if (!config.runtime.empty() || !config.handler.empty()) {
    return invalid_argument(std::string(config.runtime.empty() ? "handler" : "runtime") +
                            " belongs to event functions: set kind = \"event\"");
  }
  if (given == 1) return {};
  return invalid_argument(config.engine.empty() ? "command or engine is missing: one of them must be given"
                                                : "command and engine exclude each other: give one of them");
}

Status check_texts(const FunctionConfig& config) {
  const auto is_control = [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; };
  for (const TextField& field : kTextFields) {
    const std::string& text = config.*field.member;
    if (text.size() > field.bytes_max) {
      return Error{ErrorKind::too_large, std::string(field.key) + " is " + std::to_string(text.size()) +
                                             " bytes; at most " + std::to_string(field.bytes_max) + " are possible"};
    }
    if (std::any_of(text.begin(), text.end(), is_control))
      return invalid_argument(std::string(field.key) + " holds a control character");
  }
  return {};
}

Status check_http(const FunctionConfig& config) {
  if (config.http_payload.empty() && config.http_stage.empty()) return {};
  if (config.kind != FunctionKind::event) {
    return invalid_argument(std::string(config.http_payload.empty() ? "http_stage" : "http_payload") +
                            " belongs to event functions: web functions get their requests as they are");
  }
  if (!config.http_payload.empty() && config.http_payload != "1.0" && config.http_payload != "2.0")
    return invalid_argument("http_payload = \"" + config.http_payload + "\" is not possible: it is \"1.0\" or \"2.0\"");
  if (!config.http_stage.empty() && config.http_payload != "1.0")
    return invalid_argument("http_stage belongs to http_payload = \"1.0\"");
  const auto fits = [](char c) { return is_letter_or_digit(c) || c == '-' || c == '_'; };
  if (!std::all_of(config.http_stage.begin(), config.http_stage.end(), fits))
    return invalid_argument("http_stage must hold letters, digits, - and _ alone, like prod");
  return {};
}

// "Configuring JSON and plain text log formats", AWS Lambda Developer Guide: levels belong to JSON.
Status check_logs(const FunctionConfig& config) {
  if (config.log_format.empty() && config.log_level.empty()) return {};
  if (config.kind != FunctionKind::event) {
    return invalid_argument(std::string(config.log_format.empty() ? "log_level" : "log_format") +
                            " belongs to event functions");
  }
  if (!config.log_format.empty() && config.log_format != "Text" && config.log_format != "JSON")
    return invalid_argument("log_format = \"" + config.log_format + "\" is not possible: it is \"Text\" or \"JSON\"");
  if (config.log_level.empty()) return {};
  if (config.log_format != "JSON") return invalid_argument("log_level belongs to log_format = \"JSON\"");
  static constexpr std::array kLevels{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"};
  if (std::find(kLevels.begin(), kLevels.end(), config.log_level) != kLevels.end()) return {};
  return invalid_argument("log_level = \"" + config.log_level +
                          "\" is not possible: levels are TRACE, DEBUG, INFO, WARN, ERROR and FATAL");
}

Status check_layers(const FunctionConfig& config) {
  if (config.layers.uses.empty()) return {};
  if (!config.engine.empty() || !config.model.empty())
    return invalid_argument("Layers lie at /opt, which engines and models need for themselves");
  if (config.layers.uses.size() > kLayersOfFunctionMax)
    return invalid_argument("Layers: at most " + std::to_string(kLayersOfFunctionMax) + " are possible");
  return {};
}

Status check_schedules(const FunctionConfig& config) {
  if (config.schedules.empty()) return {};
  if (config.kind != FunctionKind::event)
    return invalid_argument("schedules belong to event functions: set kind = \"event\"");
  if (config.schedules.size() > kSchedulesMax) {
    return Error{ErrorKind::too_large, "schedules has " + std::to_string(config.schedules.size()) +
                                           " entries; at most " + std::to_string(kSchedulesMax) + " are possible"};
  }
  for (std::size_t i = 0; i < config.schedules.size(); ++i) {
    const std::string where = "schedules[" + std::to_string(i) + "]: ";
    if (const Status checked = check(config.schedules[i]); !checked.ok())
      return invalid_argument(where + checked.error().message);
    for (std::size_t k = 0; k < i; ++k) {
      if (config.schedules[k].name == config.schedules[i].name)
        return invalid_argument(where + "the name " + config.schedules[i].name + " is given twice");
    }
  }
  return {};
}

Status check_hooks(const FunctionConfig& config) {
  if (config.egress && config.snapshot) {
    return invalid_argument(
        "egress and snapshot exclude each other: connections out of the environment do not survive a snapshot");
  }
  if (config.calls && config.kind == FunctionKind::web && config.port == kCallsPort) {
    return invalid_argument(
        "port " + std::to_string(kCallsPort) +
        " is that of THAW_URL inside the environment of a function with calls = true: take another");
  }
  if (!config.before_snapshot_path.empty())
    RETURN_IF_ERROR(check_path("before_snapshot_path", config.before_snapshot_path));
  if (!config.after_restore_path.empty()) RETURN_IF_ERROR(check_path("after_restore_path", config.after_restore_path));
  RETURN_IF_ERROR(check_schedules(config));
  return check_warm_up(config.warm_up);
}

}  // namespace

bool is_managed_runtime(std::string_view runtime) {
  return is_version(runtime, kRuntimePython, "") || is_version(runtime, kRuntimeNode, ".x");
}

Status check_function_name(std::string_view name) {
  const std::string shown(name.substr(0, 100));
  if (name.empty()) return invalid_argument("the function has no name: give one, or set name in thaw.toml");
  if (name.size() > kNameBytesMax) {
    return invalid_argument("name is " + std::to_string(name.size()) + " characters long; at most " +
                            std::to_string(kNameBytesMax) + " are possible");
  }
  const auto fits = [](char c) { return is_letter_or_digit(c) || c == '-' || c == '_'; };
  if (!std::all_of(name.begin(), name.end(), fits))
    return invalid_argument("name \"" + shown + "\" is not possible: use letters, digits, - and _");
  return {};
}

bool is_host_label(std::string_view name) {
  return !name.empty() && name.size() <= kHostLabelBytesMax && name.front() != '-' && name.back() != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) { return is_letter_or_digit(c) || c == '-'; });
}

Status validate(const FunctionConfig& config) {
  if (!config.name.empty()) RETURN_IF_ERROR(check_function_name(config.name));
  RETURN_IF_ERROR(check_kind(config));
  RETURN_IF_ERROR(check_texts(config));
  RETURN_IF_ERROR(check_http(config));
  RETURN_IF_ERROR(check_logs(config));
  if (!config.command.empty()) RETURN_IF_ERROR(check_command(config.command));
  RETURN_IF_ERROR(check_engine(config));
  RETURN_IF_ERROR(check_model(config));
  RETURN_IF_ERROR(check_llama(config));
  for (const NumberField& field : kNumberFields) {
    const std::uint32_t value = config.*field.member;
    if (value < field.min || value > field.max) {
      return invalid_argument(std::string(field.key) + " = " + std::to_string(value) +
                              " is out of range: " + std::to_string(field.min) + " to " + std::to_string(field.max));
    }
  }
  if (config.port < kPortMin) {
    return invalid_argument("port = " + std::to_string(config.port) + " is out of range: " + std::to_string(kPortMin) +
                            " to " + std::to_string(kPortMax));
  }
  RETURN_IF_ERROR(check_path("readiness_path", config.readiness_path));
  RETURN_IF_ERROR(check_hooks(config));
  RETURN_IF_ERROR(check_layers(config));
  return check_environment(config);
}

bool is_model_address(std::string_view model) {
  const std::size_t colon = model.find(':');
  return colon != std::string_view::npos && colon < model.find('/');
}

FunctionConfig engine_defaults(std::string_view engine, std::uint64_t package_bytes) {
  FunctionConfig config;
  if (engine == kEngineLlama) {
    // Two vCPUs: prompts are computed twice as fast as with one. The model itself is not the environment's memory.
    config.memory_mb = 2 * kMemoryMbPerVcpu;
    config.ephemeral_mb = 64;
    config.concurrency = 4;
    config.timeout_s = 300;
    config.init_timeout_s = 300;
    config.readiness_path = "/health";
    return config;
  }
  if (engine != kEngineOnnx) return config;
  // One whole vCPU for small models; for large ones room for the weights, their packed copy, and the tensors of a
  // batch. Beyond the most that a function can have the model may still fit, so it is not refused here.
  constexpr std::uint64_t kRoomMb = 512;
  constexpr std::uint64_t kStepMb = 64;
  const std::uint64_t package_mb = (package_bytes >> 20) + 1;
  const std::uint64_t wanted_mb = package_mb >= kMemoryMbMax ? kMemoryMbMax : kRoomMb + 3 * package_mb;
  const std::uint64_t rounded_mb = (wanted_mb + kStepMb - 1) / kStepMb * kStepMb;
  config.memory_mb = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(rounded_mb, kMemoryMbPerVcpu, kMemoryMbMax));
  config.ephemeral_mb = 64;
  config.concurrency = 8;
  config.init_timeout_s = 120;
  return config;
}

Result<std::vector<std::string>> split_command(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
      continue;
    }
    in_word = true;
    if (c == '\'' || c == '"') {
      for (++i; i < line.size() && line[i] != c; ++i) {
        if (c == '"' && line[i] == '\\' && i + 1 < line.size() && (line[i + 1] == '"' || line[i + 1] == '\\')) ++i;
        word += line[i];
      }
      if (i >= line.size()) return invalid_argument(std::string("command has an open quote ") + c + ": close it");
    } else if (c == '\\') {
      if (++i >= line.size()) return invalid_argument("command ends in a backslash");
      word += line[i];
    } else if (std::string_view("|&;<>`").find(c) != std::string_view::npos || line.substr(i, 2) == "$(") {
      return invalid_argument(std::string("command holds ") + c +
                              ", which asks for a shell, but none runs it: quote it, or use "
                              "command = [\"sh\", \"-c\", \"...\"]");
    } else {
      word += c;
    }
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

}  // namespace thaw::model
