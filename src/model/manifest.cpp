#include "model/manifest.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "model/fields.h"
#include "model/toml.h"

namespace thaw::model {
namespace {

constexpr std::string_view kOtherKeys[] = {"name",
                                           "command",
                                           "engine",
                                           "task",
                                           "model",
                                           "model_sha256",
                                           "context",
                                           "system_prompt",
                                           "engine_arguments",
                                           "port",
                                           "readiness_path",
                                           "environment",
                                           "snapshot",
                                           "warm_up",
                                           "schedules",
                                           "before_snapshot_path",
                                           "after_restore_path",
                                           "strict_connections",
                                           "egress",
                                           "calls",
                                           "kind"};
constexpr std::string_view kWarmUpKeys[] = {"method", "path", "body", "content_type"};
constexpr std::string_view kScheduleKeys[] = {"name", "schedule", "qualifier", "input", "enabled"};

// Edit distance with swaps of neighbours (optimal string alignment).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last(b.size() + 1), now(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before = last;
    last = now;
  }
  return last[b.size()];
}

// Where an error message says it is from: "thaw.toml" or "the overrides".
struct Source {
  std::string_view name;

  Error error(const std::string& message) const { return invalid_argument(std::string(name) + ": " + message); }
};

// Text from outside in a message: bounded, and no control characters.
std::string shown(std::string_view text) {
  std::string safe;
  for (const char c : text.substr(0, 60)) safe += (c >= 0 && c < ' ') || c == '\x7f' ? '?' : c;
  while (!safe.empty() && text.size() > 60 && (safe.back() & 0xC0) == 0x80) safe.pop_back();
  return safe;
}

Error unknown_key(const Source& source, std::string_view key) {
  std::string_view nearest;
  std::size_t nearest_distance = 1 + std::max<std::size_t>(2, key.size() / 3);
  const auto consider = [&](std::string_view known) {
    // "memory" is memory_mb with its unit forgotten.
    const std::size_t d = key.size() >= 4 && known.starts_with(key) ? 1 : distance(key, known);
    if (d < nearest_distance) nearest = known, nearest_distance = d;
  };
  if (key.size() <= 40) {
    for (const std::string_view known : kOtherKeys) consider(known);
    for (const NumberField& field : kNumberFields) consider(field.key);
    for (const TextField& field : kTextFields) consider(field.key);
  }
  std::string message = "unknown key \"" + shown(key) + "\"";
  if (!nearest.empty()) message += "; did you mean " + std::string(nearest) + "?";
  if (nearest.empty() && key == "function") message += "; the keys stand at the top, without a [function] table";
  return source.error(message);
}

std::string type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a decimal number";
    case toml::node_type::boolean:
      return "a boolean";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::table:
      return "a table";
    default:
      return "a date or time";
  }
}

Error wrong_type(const Source& source, std::string_view key, std::string_view wanted, const toml::node& node) {
  return source.error(shown(key) + " must be " + std::string(wanted) + ", not " + type_name(node));
}

Result<std::string> as_string(const Source& source, std::string_view key, const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  return wrong_type(source, key, "a string", node);
}

struct Range {
  std::int64_t min;
  std::int64_t max;
};

Result<std::uint32_t> as_number(const Source& source, std::string_view key, const toml::node& node, Range range) {
  const auto* number = node.as_integer();
  if (number == nullptr) return wrong_type(source, key, "a whole number", node);
  if (number->get() < range.min || number->get() > range.max) {
    return source.error(std::string(key) + " = " + std::to_string(number->get()) +
                        " is out of range: " + std::to_string(range.min) + " to " + std::to_string(range.max));
  }
  return static_cast<std::uint32_t>(number->get());
}

Result<std::vector<std::string>> as_command(const Source& source, const toml::node& node) {
  if (const auto* line = node.as_string()) {
    auto words = split_command(line->get());
    if (!words) return source.error(words.error().message);
    if (words->empty()) return source.error("command is empty: name a program");
    return words;
  }
  const auto* array = node.as_array();
  if (array == nullptr) return wrong_type(source, "command", "a string or an array of strings", node);
  if (array->empty()) return source.error("command is empty: name a program");
  std::vector<std::string> words;
  for (const toml::node& item : *array) {
    ASSIGN_OR_RETURN(std::string word, as_string(source, "each item of command", item));
    words.push_back(std::move(word));
  }
  return words;
}

Result<std::vector<std::string>> as_strings(const Source& source, std::string_view key, const toml::node& node) {
  const auto* array = node.as_array();
  if (array == nullptr) return wrong_type(source, key, "an array of strings", node);
  std::vector<std::string> items;
  for (const toml::node& item : *array) {
    ASSIGN_OR_RETURN(std::string text, as_string(source, "each item of " + std::string(key), item));
    items.push_back(std::move(text));
  }
  return items;
}

Status apply_environment(const Source& source, const toml::node& node, FunctionConfig& config) {
  const auto* table = node.as_table();
  if (table == nullptr) return wrong_type(source, "environment", "a table of strings", node);
  for (const auto& [name, value] : *table) {
    ASSIGN_OR_RETURN(std::string text, as_string(source, "environment." + std::string(name.str()), value));
    config.environment.insert_or_assign(std::string(name.str()), std::move(text));
  }
  return {};
}

Result<bool> as_bool(const Source& source, std::string_view key, const toml::node& node) {
  if (const auto* on = node.as_boolean()) return on->get();
  return wrong_type(source, key, "true or false", node);
}

Result<WarmUpRequest> as_warm_up(const Source& source, const std::string& where, const toml::node& node) {
  const auto* table = node.as_table();
  if (table == nullptr) return wrong_type(source, where, "a table", node);
  WarmUpRequest request;
  for (const auto& [key, value] : *table) {
    std::string* field = key.str() == "method"         ? &request.method
                         : key.str() == "path"         ? &request.path
                         : key.str() == "body"         ? &request.body
                         : key.str() == "content_type" ? &request.content_type
                                                       : nullptr;
    if (field == nullptr) {
      std::string keys;
      for (const std::string_view known : kWarmUpKeys) keys.append(keys.empty() ? "" : ", ").append(known);
      return source.error(where + ": unknown key \"" + shown(key.str()) + "\"; the keys are: " + keys);
    }
    ASSIGN_OR_RETURN(*field, as_string(source, where + "." + std::string(key.str()), value));
  }
  if (!table->contains("method") && table->contains("body")) request.method = "POST";
  return request;
}

Result<std::vector<WarmUpRequest>> as_warm_ups(const Source& source, const toml::node& node) {
  const auto* array = node.as_array();
  if (array == nullptr) return wrong_type(source, "warm_up", "an array of tables: write [[warm_up]]", node);
  std::vector<WarmUpRequest> requests;
  for (const toml::node& item : *array) {
    // The bound stands in validate(), which names it.
    if (requests.size() > kWarmUpRequestsMax) break;
    ASSIGN_OR_RETURN(WarmUpRequest request,
                     as_warm_up(source, "warm_up[" + std::to_string(requests.size()) + "]", item));
    requests.push_back(std::move(request));
  }
  return requests;
}

Result<ScheduleSpec> as_schedule(const Source& source, const std::string& where, const toml::node& node) {
  const auto* table = node.as_table();
  if (table == nullptr) return wrong_type(source, where, "a table", node);
  ScheduleSpec spec;
  for (const auto& [key, value] : *table) {
    if (key.str() == "enabled") {
      ASSIGN_OR_RETURN(spec.enabled, as_bool(source, where + ".enabled", value));
      continue;
    }
    std::string* field = key.str() == "name"        ? &spec.name
                         : key.str() == "schedule"  ? &spec.expression
                         : key.str() == "qualifier" ? &spec.qualifier
                         : key.str() == "input"     ? &spec.input
                                                    : nullptr;
    if (field == nullptr) {
      std::string keys;
      for (const std::string_view known : kScheduleKeys) keys.append(keys.empty() ? "" : ", ").append(known);
      return source.error(where + ": unknown key \"" + shown(key.str()) + "\"; the keys are: " + keys);
    }
    ASSIGN_OR_RETURN(*field, as_string(source, where + "." + std::string(key.str()), value));
  }
  return spec;
}

Result<std::vector<ScheduleSpec>> as_schedules(const Source& source, const toml::node& node) {
  const auto* array = node.as_array();
  if (array == nullptr) return wrong_type(source, "schedules", "an array of tables: write [[schedules]]", node);
  std::vector<ScheduleSpec> schedules;
  for (const toml::node& item : *array) {
    // The bound stands in validate(), which names it.
    if (schedules.size() > kSchedulesMax) break;
    ASSIGN_OR_RETURN(ScheduleSpec spec,
                     as_schedule(source, "schedules[" + std::to_string(schedules.size()) + "]", item));
    schedules.push_back(std::move(spec));
  }
  return schedules;
}

// Those that tell engines and snapshots something, beside kTextFields.
constexpr std::pair<std::string_view, std::string FunctionConfig::*> kOtherTexts[] = {
    {"task", &FunctionConfig::task},
    {"model", &FunctionConfig::model},
    {"model_sha256", &FunctionConfig::model_sha256},
    {"system_prompt", &FunctionConfig::system_prompt},
    {"before_snapshot_path", &FunctionConfig::before_snapshot_path},
    {"after_restore_path", &FunctionConfig::after_restore_path},
    {"readiness_path", &FunctionConfig::readiness_path},
};

std::string FunctionConfig::*text_member(std::string_view key) {
  for (const TextField& field : kTextFields) {
    if (key == field.key) return field.member;
  }
  for (const auto& [other, member] : kOtherTexts) {
    if (key == other) return member;
  }
  return nullptr;
}

Result<FunctionKind> as_kind(const Source& source, const toml::node& node) {
  ASSIGN_OR_RETURN(const std::string kind, as_string(source, "kind", node));
  if (kind == "web") return FunctionKind::web;
  if (kind == "event") return FunctionKind::event;
  return source.error("kind = \"" + shown(kind) + "\" is not possible: the kinds are web and event");
}

Status apply_key(const Source& source, std::string_view key, const toml::node& node, FunctionConfig& config) {
  for (const NumberField& field : kNumberFields) {
    if (key != field.key) continue;
    ASSIGN_OR_RETURN(config.*field.member, as_number(source, key, node, {field.min, field.max}));
    return {};
  }
  if (const auto member = text_member(key); member != nullptr) {
    ASSIGN_OR_RETURN(config.*member, as_string(source, key, node));
    return {};
  }
  if (key == "port") {
    ASSIGN_OR_RETURN(const std::uint32_t port, as_number(source, key, node, {kPortMin, kPortMax}));
    config.port = static_cast<std::uint16_t>(port);
  } else if (key == "command") {
    ASSIGN_OR_RETURN(config.command, as_command(source, node));
  } else if (key == "environment") {
    RETURN_IF_ERROR(apply_environment(source, node, config));
  } else if (key == "name") {
    ASSIGN_OR_RETURN(config.name, as_string(source, key, node));
    if (auto status = check_function_name(config.name); !status) return source.error(status.error().message);
  } else if (key == "engine") {
    ASSIGN_OR_RETURN(config.engine, as_string(source, key, node));
    if (config.engine.empty()) return source.error("engine is empty: the engines are: thaw-onnx, llama-server");
  } else if (key == "kind") {
    ASSIGN_OR_RETURN(config.kind, as_kind(source, node));
  } else if (key == "context") {
    ASSIGN_OR_RETURN(config.context, as_number(source, key, node, {0, kContextMax}));
  } else if (key == "engine_arguments") {
    ASSIGN_OR_RETURN(config.engine_arguments, as_strings(source, key, node));
  } else if (key == "snapshot") {
    ASSIGN_OR_RETURN(config.snapshot, as_bool(source, key, node));
  } else if (key == "egress") {
    ASSIGN_OR_RETURN(config.egress, as_bool(source, key, node));
  } else if (key == "calls") {
    ASSIGN_OR_RETURN(config.calls, as_bool(source, key, node));
  } else if (key == "strict_connections") {
    ASSIGN_OR_RETURN(config.strict_connections, as_bool(source, key, node));
  } else if (key == "warm_up") {
    ASSIGN_OR_RETURN(config.warm_up, as_warm_ups(source, node));
  } else if (key == "schedules") {
    ASSIGN_OR_RETURN(config.schedules, as_schedules(source, node));
  } else {
    return unknown_key(source, key);
  }
  return {};
}

Result<toml::table> parse(const Source& source, std::string_view text) {
  if (text.size() > kManifestBytesMax) {
    return Error{ErrorKind::too_large, std::string(source.name) + ": " + std::to_string(text.size()) +
                                           " bytes are more than the " + std::to_string(kManifestBytesMax) +
                                           " allowed"};
  }
  if (has_deep_toml_key(text)) return source.error("a key has more than " + std::to_string(kTomlKeyDotsMax) + " dots");
  toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    const auto& at = parsed.error().source().begin;
    return source.error("line " + std::to_string(at.line) + ", column " + std::to_string(at.column) + ": " +
                        shown(parsed.error().description()));
  }
  return std::move(parsed).table();
}

// Keys of the manifest that an override of the other kind makes void.
bool is_overridden(std::string_view key, const toml::table& overrides) {
  if (key == "command") return overrides.contains("engine") || overrides.contains("runtime");
  if (key == "runtime") return overrides.contains("command") || overrides.contains("engine");
  if (key == "handler" || key == "kind") return overrides.contains("engine");
  if (key == "engine" || key == "task" || key == "context" || key == "system_prompt" || key == "engine_arguments")
    return overrides.contains("command");
  return false;
}

std::string quoted(std::string_view text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if ((c >= 0 && c < ' ') || c == '\x7f') {
      out += "\\u00";
      out += kDigits[(c >> 4) & 15];
      out += kDigits[c & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string quoted_list(const std::vector<std::string>& items) {
  std::string array;
  for (const std::string& item : items) array += (array.empty() ? "" : ", ") + quoted(item);
  return "[" + array + "]";
}

}  // namespace

Result<FunctionConfig> read_manifest(const ManifestInput& input) {
  const Source manifest_source{kManifestFile};
  const Source overrides_source{"the overrides"};
  ASSIGN_OR_RETURN(const toml::table manifest, parse(manifest_source, input.manifest));
  ASSIGN_OR_RETURN(const toml::table overrides, parse(overrides_source, input.overrides));

  // The engine first: the defaults of the other keys follow it.
  std::string engine;
  if (!is_overridden("engine", overrides)) engine = manifest["engine"].value_or(std::string());
  engine = overrides["engine"].value_or(std::move(engine));
  FunctionConfig config = engine_defaults(engine, input.package_bytes);
  // A runtime says what kind of function it is of.
  const auto says_event = [](const toml::table& table) {
    return table.contains("runtime") || table["kind"].value_or(std::string()) == "event";
  };
  if (says_event(overrides) || (says_event(manifest) && !overrides.contains("engine"))) {
    config.kind = FunctionKind::event;
    config.init_timeout_s = kEventInitTimeoutSeconds;
  }
  for (const auto& [key, node] : manifest) {
    FunctionConfig ignored;
    const bool overridden = is_overridden(key.str(), overrides);
    RETURN_IF_ERROR(apply_key(manifest_source, key.str(), node, overridden ? ignored : config));
  }
  for (const auto& [key, node] : overrides) RETURN_IF_ERROR(apply_key(overrides_source, key.str(), node, config));
  if (auto status = validate(config); !status) {
    Error error = std::move(status).error();
    error.message = std::string(kManifestFile) + ": " + error.message;
    return error;
  }
  return config;
}

std::string bare_gguf_manifest(std::string_view model) {
  return "engine = \"llama-server\"\nmodel = " + quoted(model) + "\n";
}

std::string to_toml(const FunctionConfig& config) {
  std::string out;
  const auto line = [&](std::string_view key, const std::string& value) {
    out.append(key).append(" = ").append(value).append("\n");
  };
  if (!config.name.empty()) line("name", quoted(config.name));
  if (!config.command.empty()) line("command", quoted_list(config.command));
  if (!config.engine.empty()) line("engine", quoted(config.engine));
  if (config.kind == FunctionKind::event) line("kind", quoted("event"));
  for (const TextField& field : kTextFields) {
    if (!(config.*field.member).empty()) line(field.key, quoted(config.*field.member));
  }
  if (!config.task.empty()) line("task", quoted(config.task));
  if (!config.model.empty()) line("model", quoted(config.model));
  if (!config.model_sha256.empty()) line("model_sha256", quoted(config.model_sha256));
  if (config.context != 0) line("context", std::to_string(config.context));
  if (!config.system_prompt.empty()) line("system_prompt", quoted(config.system_prompt));
  if (!config.engine_arguments.empty()) line("engine_arguments", quoted_list(config.engine_arguments));
  for (const NumberField& field : kNumberFields) line(field.key, std::to_string(config.*field.member));
  line("port", std::to_string(config.port));
  line("readiness_path", quoted(config.readiness_path));
  if (config.egress) line("egress", "true");
  if (config.calls) line("calls", "true");
  if (config.snapshot) line("snapshot", "true");
  if (!config.before_snapshot_path.empty()) line("before_snapshot_path", quoted(config.before_snapshot_path));
  if (!config.after_restore_path.empty()) line("after_restore_path", quoted(config.after_restore_path));
  if (config.strict_connections) line("strict_connections", "true");
  for (const WarmUpRequest& request : config.warm_up) {
    out += "\n[[warm_up]]\n";
    line("method", quoted(request.method));
    line("path", quoted(request.path));
    line("body", quoted(request.body));
    line("content_type", quoted(request.content_type));
  }
  for (const ScheduleSpec& spec : config.schedules) {
    out += "\n[[schedules]]\n";
    line("name", quoted(spec.name));
    line("schedule", quoted(spec.expression));
    if (!spec.qualifier.empty()) line("qualifier", quoted(spec.qualifier));
    if (!spec.input.empty()) line("input", quoted(spec.input));
    if (!spec.enabled) line("enabled", "false");
  }
  if (!config.environment.empty()) {
    out += "\n[environment]\n";
    for (const auto& [name, value] : config.environment) line(quoted(name), quoted(value));
  }
  return out;
}

}  // namespace thaw::model
