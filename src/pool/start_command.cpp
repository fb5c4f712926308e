#include "pool/start_command.h"

#include <map>

namespace thaw::pool {
namespace {

constexpr std::uint32_t kProcessesMax = 1024;

std::string with_port(std::string argument, const std::string& port) {
  constexpr std::string_view kPlaceholder = "${PORT}";
  for (std::size_t at = argument.find(kPlaceholder); at != std::string::npos; at = argument.find(kPlaceholder, at)) {
    argument.replace(at, kPlaceholder.size(), port);
    at += port.size();
  }
  return argument;
}

}  // namespace

sandbox::EnvironmentSpec start_spec(const model::FunctionRecord& record, const char* initialization_type) {
  const model::FunctionConfig& config = record.config;
  const std::string port = std::to_string(config.port);
  sandbox::EnvironmentSpec spec;
  spec.memory_bytes = std::uint64_t{config.memory_mb} << 20;
  spec.tmp_bytes = std::uint64_t{config.ephemeral_mb} << 20;
  spec.cpu_milli = model::cpu_milli(config.memory_mb);
  spec.pids_max = kProcessesMax;
  if (config.engine == "thaw-onnx") {
    spec.engine = sandbox::Engine::thaw_onnx;
    spec.argv = {"/opt/thaw/thaw-onnx", "--model", "/var/task", "--listen", "127.0.0.1:" + port};
    if (!config.task.empty()) spec.argv.insert(spec.argv.end(), {"--task", config.task});
  } else {
    for (const std::string& argument : config.command) spec.argv.push_back(with_port(argument, port));
  }
  std::map<std::string, std::string> variables = {
      {"PATH", "/var/task/bin:/usr/local/bin:/usr/bin:/bin"},
      {"HOME", "/tmp"},
      {"TMPDIR", "/tmp"},
      {"LANG", "C.UTF-8"},
      // A Python that writes to a pipe keeps its lines back, and a frozen one for ever.
      {"PYTHONUNBUFFERED", "1"},
  };
  for (const auto& [name, value] : config.environment) variables[name] = value;
  variables["PORT"] = port;
  variables["AWS_LAMBDA_FUNCTION_NAME"] = config.name;
  variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = std::to_string(config.memory_mb);
  variables["AWS_LAMBDA_FUNCTION_VERSION"] = record.version;
  variables["AWS_LAMBDA_INITIALIZATION_TYPE"] = initialization_type;
  variables["THAW_CPU_MILLI"] = std::to_string(spec.cpu_milli);
  for (const auto& [name, value] : variables) spec.environment.push_back(name + "=" + value);
  return spec;
}

}  // namespace thaw::pool
