#include "deploy_request.h"

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_UNRELEASED_FEATURES 0
#include <toml++/toml.h>

#include <algorithm>
#include <map>

#include "model/manifest.h"
#include "text.h"

namespace thaw::cli {
namespace {

struct Assignment {
  std::string key;
  std::string value;
};

Result<Assignment> split_assignment(const std::string& text, const char* option) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return invalid_argument(std::string(option) + " '" + text + "': write NAME=VALUE");
  }
  return Assignment{text.substr(0, equals), text.substr(equals + 1)};
}

// 512, true and ["a", "b"] mean what they mean in TOML; anything else is text that needs no quotes.
std::string toml_value(const std::string& text) {
  const toml::parse_result parsed = toml::parse("value = " + text);
  return parsed && parsed.table().size() == 1 && text.find('\n') == std::string::npos ? text : toml_quote(text);
}

// A command inside the package must be there, and be a program.
Status check_command(const PackagePlan& plan, const model::FunctionConfig& config) {
  if (config.command.empty() || plan.entries.empty()) return {};
  std::string program = config.command.front();
  if (program.starts_with("/var/task/")) {
    program = program.substr(10);
  } else if (program.starts_with('/') || program.find('/') == std::string::npos) {
    return {};  // found by the environment's own PATH and root
  }
  while (program.starts_with("./")) program = program.substr(2);
  if (program.find("..") != std::string::npos) return {};
  const auto at = std::find_if(plan.entries.begin(), plan.entries.end(),
                               [&](const PackageEntry& entry) { return entry.name == program; });
  if (at == plan.entries.end()) {
    return invalid_argument("thaw.toml: command: the folder holds no " + printable(config.command.front()));
  }
  if (at->kind == PackageEntry::Kind::file && (at->mode & 0111) == 0) {
    return invalid_argument("thaw.toml: command: " + printable(config.command.front()) +
                            " is no program; allow it with: chmod +x " + shell_quote(at->source));
  }
  return {};
}

}  // namespace

Result<std::string> overrides_of(const DeployOptions& options) {
  std::map<std::string, std::string> settings;
  std::map<std::string, std::string> variables;
  for (const std::string& text : options.settings) {
    ASSIGN_OR_RETURN(const Assignment set, split_assignment(text, "--set"));
    if (set.key.starts_with("environment.")) {
      variables[set.key.substr(12)] = set.value;
      continue;
    }
    settings[set.key] = toml_value(set.value);
  }
  for (const std::string& text : options.environment) {
    ASSIGN_OR_RETURN(const Assignment variable, split_assignment(text, "--env"));
    if (!is_valid_utf8(variable.value)) return invalid_argument("--env " + variable.key + ": the value is not UTF-8");
    variables[variable.key] = variable.value;
  }
  if (!options.name.empty()) settings["name"] = toml_quote(options.name);
  if (options.memory_mb) settings["memory_mb"] = std::to_string(*options.memory_mb);
  if (options.timeout_s) settings["timeout_s"] = std::to_string(*options.timeout_s);
  if (options.concurrency) settings["concurrency"] = std::to_string(*options.concurrency);
  std::string out;
  for (const auto& [key, value] : settings) out += toml_quote(key) + " = " + value + "\n";
  if (!variables.empty()) out += "[environment]\n";
  for (const auto& [key, value] : variables) out += toml_quote(key) + " = " + toml_quote(value) + "\n";
  return out;
}

Result<DeployRequest> check_deploy(const PackagePlan& plan, const DeployOptions& options) {
  DeployRequest request;
  ASSIGN_OR_RETURN(request.overrides, overrides_of(options));
  if (plan.manifest.empty()) {
    // A zip whose manifest this program does not find: the daemon knows better.
    request.name = options.name.empty() ? "-" : options.name;
    return request;
  }
  ASSIGN_OR_RETURN(
      const model::FunctionConfig config,
      model::read_manifest({.manifest = plan.manifest, .overrides = request.overrides, .package_bytes = plan.bytes}));
  RETURN_IF_ERROR(check_command(plan, config));
  request.name = config.name.empty() ? plan.suggested_name : config.name;
  if (request.name.empty()) return invalid_argument("the function has no name: give one with --name");
  if (model::is_model_address(config.model)) {
    request.model_address = config.model;
    request.model_sha256 = config.model_sha256;
  }
  return request;
}

}  // namespace thaw::cli
