#include <boost/json.hpp>

#include "model/fields.h"
#include "model/manifest.h"

namespace thaw::model {
namespace {

namespace json = boost::json;

constexpr std::int64_t kFormat = 1;
// Far above what a valid configuration can need, quotes and escapes included.
constexpr std::size_t kJsonBytesMax = 1 << 20;

Error corrupt(std::string_view what) {
  return {ErrorKind::corrupt, "a stored function configuration is damaged: " + std::string(what)};
}

Result<std::string> string_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return corrupt(std::string(key) + " is missing or no string");
  return std::string(value->get_string());
}

Result<std::uint32_t> number_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0 || value->get_int64() > UINT32_MAX) {
    return corrupt(std::string(key) + " is missing or no number");
  }
  return static_cast<std::uint32_t>(value->get_int64());
}

Status read_lists(const json::object& object, FunctionConfig& config) {
  const json::value* command = object.if_contains("command");
  if (command == nullptr || !command->is_array()) return corrupt("command is missing or no array");
  for (const json::value& item : command->get_array()) {
    if (!item.is_string()) return corrupt("command holds what is no string");
    config.command.emplace_back(item.get_string());
  }
  const json::value* environment = object.if_contains("environment");
  if (environment == nullptr || !environment->is_object()) return corrupt("environment is missing or no object");
  for (const auto& [name, value] : environment->get_object()) {
    if (!value.is_string()) return corrupt("environment holds what is no string");
    config.environment.emplace(name, value.get_string());
  }
  return {};
}

Status read_schedules(const json::object& object, FunctionConfig& config) {
  const json::value* schedules = object.if_contains("schedules");
  if (schedules == nullptr) return {};
  if (!schedules->is_array()) return corrupt("schedules is no array");
  for (const json::value& item : schedules->get_array()) {
    if (!item.is_object()) return corrupt("schedules holds what is no object");
    ASSIGN_OR_RETURN(ScheduleSpec spec, schedule_from_json(item.get_object()));
    config.schedules.push_back(std::move(spec));
  }
  return {};
}

// What is absent has its default: most functions have none of these.
Status read_snapshot(const json::object& object, FunctionConfig& config) {
  const auto read_bool = [&](std::string_view key, bool& field) -> Status {
    const json::value* value = object.if_contains(key);
    if (value == nullptr) return {};
    if (!value->is_bool()) return corrupt(std::string(key) + " is no bool");
    field = value->get_bool();
    return {};
  };
  RETURN_IF_ERROR(read_bool("egress", config.egress));
  RETURN_IF_ERROR(read_bool("calls", config.calls));
  RETURN_IF_ERROR(read_bool("snapshot", config.snapshot));
  RETURN_IF_ERROR(read_bool("strict_connections", config.strict_connections));
  if (object.contains("before_snapshot_path")) {
    ASSIGN_OR_RETURN(config.before_snapshot_path, string_member(object, "before_snapshot_path"));
  }
  if (object.contains("after_restore_path")) {
    ASSIGN_OR_RETURN(config.after_restore_path, string_member(object, "after_restore_path"));
  }
  RETURN_IF_ERROR(read_schedules(object, config));
  const json::value* requests = object.if_contains("warm_up");
  if (requests == nullptr) return {};
  if (!requests->is_array()) return corrupt("warm_up is no array");
  for (const json::value& item : requests->get_array()) {
    if (!item.is_object()) return corrupt("warm_up holds what is no object");
    WarmUpRequest request;
    ASSIGN_OR_RETURN(request.method, string_member(item.get_object(), "method"));
    ASSIGN_OR_RETURN(request.path, string_member(item.get_object(), "path"));
    ASSIGN_OR_RETURN(request.body, string_member(item.get_object(), "body"));
    ASSIGN_OR_RETURN(request.content_type, string_member(item.get_object(), "content_type"));
    config.warm_up.push_back(std::move(request));
  }
  return {};
}

// What is absent is empty: functions without a model have none of these.
Status read_model(const json::object& object, FunctionConfig& config) {
  const auto read_string = [&](const json::object& from, std::string_view key, std::string& field) -> Status {
    if (!from.contains(key)) return {};
    ASSIGN_OR_RETURN(field, string_member(from, key));
    return {};
  };
  RETURN_IF_ERROR(read_string(object, "model", config.model));
  RETURN_IF_ERROR(read_string(object, "model_sha256", config.model_sha256));
  RETURN_IF_ERROR(read_string(object, "system_prompt", config.system_prompt));
  if (object.contains("context")) {
    ASSIGN_OR_RETURN(config.context, number_member(object, "context"));
  }
  if (const json::value* arguments = object.if_contains("engine_arguments")) {
    if (!arguments->is_array()) return corrupt("engine_arguments is no array");
    for (const json::value& item : arguments->get_array()) {
      if (!item.is_string()) return corrupt("engine_arguments holds what is no string");
      config.engine_arguments.emplace_back(item.get_string());
    }
  }
  const json::value* resolved = object.if_contains("resolved");
  if (resolved == nullptr) return {};
  if (!resolved->is_object()) return corrupt("resolved is no object");
  const json::object& found = resolved->get_object();
  RETURN_IF_ERROR(read_string(found, "digest", config.resolved.digest));
  RETURN_IF_ERROR(read_string(found, "file", config.resolved.file));
  RETURN_IF_ERROR(read_string(found, "chat_template", config.resolved.chat_template));
  ASSIGN_OR_RETURN(config.resolved.context_trained, number_member(found, "context_trained"));
  const json::value* bytes = found.if_contains("bytes");
  if (bytes == nullptr || !bytes->is_int64() || bytes->get_int64() < 0) return corrupt("bytes is missing or no number");
  config.resolved.bytes = static_cast<std::uint64_t>(bytes->get_int64());
  const json::value* embeds = found.if_contains("embeds");
  if (embeds == nullptr || !embeds->is_bool()) return corrupt("embeds is missing or no bool");
  config.resolved.embeds = embeds->get_bool();
  return {};
}

Result<std::uint64_t> large_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0)
    return corrupt(std::string(key) + " is missing or no number");
  return static_cast<std::uint64_t>(value->get_int64());
}

Status read_layers(const json::object& object, FunctionLayers& layers) {
  ASSIGN_OR_RETURN(layers.sha256, string_member(object, "sha256"));
  ASSIGN_OR_RETURN(layers.code_bytes, large_member(object, "code_bytes"));
  const json::value* uses = object.if_contains("uses");
  if (uses == nullptr || !uses->is_array()) return corrupt("uses is missing or no array");
  for (const json::value& item : uses->get_array()) {
    if (!item.is_object()) return corrupt("uses holds what is no object");
    LayerUse use;
    ASSIGN_OR_RETURN(use.name, string_member(item.get_object(), "name"));
    ASSIGN_OR_RETURN(use.version, large_member(item.get_object(), "version"));
    ASSIGN_OR_RETURN(use.zip_bytes, large_member(item.get_object(), "zip_bytes"));
    layers.uses.push_back(std::move(use));
  }
  return {};
}

json::object layers_json(const FunctionLayers& layers) {
  json::array uses;
  for (const LayerUse& use : layers.uses) {
    uses.push_back(json::object{{"name", use.name},
                                {"version", static_cast<std::int64_t>(use.version)},
                                {"zip_bytes", static_cast<std::int64_t>(use.zip_bytes)}});
  }
  return {{"uses", std::move(uses)},
          {"sha256", layers.sha256},
          {"code_bytes", static_cast<std::int64_t>(layers.code_bytes)}};
}

// What is absent has its default: web functions have none of these.
Status read_event(const json::object& object, FunctionConfig& config) {
  if (const json::value* layers = object.if_contains("layers")) {
    if (!layers->is_object()) return corrupt("layers is no object");
    RETURN_IF_ERROR(read_layers(layers->get_object(), config.layers));
  }
  if (const json::value* zip = object.if_contains("zip")) {
    if (!zip->is_object()) return corrupt("zip is no object");
    ASSIGN_OR_RETURN(config.zip.sha256, string_member(zip->get_object(), "sha256"));
    ASSIGN_OR_RETURN(config.zip.bytes, number_member(zip->get_object(), "bytes"));
  }
  if (object.contains("kind")) {
    ASSIGN_OR_RETURN(const std::string kind, string_member(object, "kind"));
    if (kind != "event") return corrupt("kind is neither missing nor event");
    config.kind = FunctionKind::event;
  }
  for (const TextField& field : kTextFields) {
    if (!object.contains(field.key)) continue;
    ASSIGN_OR_RETURN(config.*field.member, string_member(object, field.key));
  }
  return {};
}

void write_event(const FunctionConfig& config, json::object& object) {
  if (!config.layers.uses.empty()) object["layers"] = layers_json(config.layers);
  if (!config.zip.sha256.empty())
    object["zip"] = json::object{{"sha256", config.zip.sha256}, {"bytes", static_cast<std::int64_t>(config.zip.bytes)}};
  if (config.kind == FunctionKind::event) object["kind"] = "event";
  for (const TextField& field : kTextFields) {
    if (!(config.*field.member).empty()) object[field.key] = config.*field.member;
  }
}

void write_model(const FunctionConfig& config, json::object& object) {
  if (!config.model.empty()) object["model"] = config.model;
  if (!config.model_sha256.empty()) object["model_sha256"] = config.model_sha256;
  if (config.context != 0) object["context"] = config.context;
  if (!config.system_prompt.empty()) object["system_prompt"] = config.system_prompt;
  if (!config.engine_arguments.empty())
    object["engine_arguments"] = json::array(config.engine_arguments.begin(), config.engine_arguments.end());
  if (config.resolved == ResolvedModel()) return;
  object["resolved"] = json::object{{"digest", config.resolved.digest},
                                    {"file", config.resolved.file},
                                    {"bytes", static_cast<std::int64_t>(config.resolved.bytes)},
                                    {"context_trained", config.resolved.context_trained},
                                    {"embeds", config.resolved.embeds},
                                    {"chat_template", config.resolved.chat_template}};
}

}  // namespace

std::string to_json(const FunctionConfig& config) {
  json::object object;
  object["format"] = kFormat;
  object["name"] = config.name;
  object["command"] = json::array(config.command.begin(), config.command.end());
  object["engine"] = config.engine;
  object["task"] = config.task;
  json::object& environment = object["environment"].emplace_object();
  for (const auto& [name, value] : config.environment) environment[name] = value;
  for (const NumberField& field : kNumberFields) object[field.key] = config.*field.member;
  object["port"] = config.port;
  object["readiness_path"] = config.readiness_path;
  write_event(config, object);
  write_model(config, object);
  if (config.egress) object["egress"] = true;
  if (config.calls) object["calls"] = true;
  if (config.snapshot) object["snapshot"] = true;
  if (config.strict_connections) object["strict_connections"] = true;
  if (!config.before_snapshot_path.empty()) object["before_snapshot_path"] = config.before_snapshot_path;
  if (!config.after_restore_path.empty()) object["after_restore_path"] = config.after_restore_path;
  if (!config.warm_up.empty()) {
    json::array& requests = object["warm_up"].emplace_array();
    for (const WarmUpRequest& request : config.warm_up) {
      requests.push_back(json::object{{"method", request.method},
                                      {"path", request.path},
                                      {"body", request.body},
                                      {"content_type", request.content_type}});
    }
  }
  if (!config.schedules.empty()) {
    json::array& schedules = object["schedules"].emplace_array();
    for (const ScheduleSpec& spec : config.schedules) schedules.push_back(json::value(to_json(spec)));
  }
  return json::serialize(object);
}

json::object to_json(const ScheduleSpec& spec) {
  return {{"name", spec.name},
          {"schedule", spec.expression},
          {"qualifier", spec.qualifier},
          {"input", spec.input},
          {"enabled", spec.enabled}};
}

Result<ScheduleSpec> schedule_from_json(const json::object& object) {
  ScheduleSpec spec;
  ASSIGN_OR_RETURN(spec.name, string_member(object, "name"));
  ASSIGN_OR_RETURN(spec.expression, string_member(object, "schedule"));
  ASSIGN_OR_RETURN(spec.qualifier, string_member(object, "qualifier"));
  ASSIGN_OR_RETURN(spec.input, string_member(object, "input"));
  const json::value* enabled = object.if_contains("enabled");
  if (enabled == nullptr || !enabled->is_bool()) return corrupt("enabled is no bool");
  spec.enabled = enabled->get_bool();
  if (const Status checked = check(spec); !checked.ok()) return corrupt(checked.error().message);
  return spec;
}

Result<FunctionConfig> config_from_json(std::string_view text) {
  if (text.size() > kJsonBytesMax) return corrupt("it is longer than any that is written");
  json::error_code code;
  const json::value parsed = json::parse(text, code);
  if (code || !parsed.is_object()) return corrupt("it is no JSON object");
  const json::object& object = parsed.get_object();
  const json::value* format = object.if_contains("format");
  if (format == nullptr || !format->is_int64()) return corrupt("format is missing");
  if (format->get_int64() != kFormat) {
    return Error{ErrorKind::unsupported, "a stored function configuration has format " +
                                             std::to_string(format->get_int64()) +
                                             "; this version of Thaw reads format " + std::to_string(kFormat)};
  }
  FunctionConfig config;
  ASSIGN_OR_RETURN(config.name, string_member(object, "name"));
  ASSIGN_OR_RETURN(config.engine, string_member(object, "engine"));
  ASSIGN_OR_RETURN(config.task, string_member(object, "task"));
  ASSIGN_OR_RETURN(config.readiness_path, string_member(object, "readiness_path"));
  for (const NumberField& field : kNumberFields) {
    ASSIGN_OR_RETURN(config.*field.member, number_member(object, field.key));
  }
  ASSIGN_OR_RETURN(const std::uint32_t port, number_member(object, "port"));
  if (port > kPortMax) return corrupt("port is out of range");
  config.port = static_cast<std::uint16_t>(port);
  RETURN_IF_ERROR(read_snapshot(object, config));
  RETURN_IF_ERROR(read_event(object, config));
  RETURN_IF_ERROR(read_model(object, config));
  RETURN_IF_ERROR(read_lists(object, config));
  if (auto status = validate(config); !status) return corrupt(status.error().message);
  return config;
}

}  // namespace thaw::model
