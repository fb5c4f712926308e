#include "pool/start_command.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <thread>

#include "base/uuid.h"
#include "invoke/runtime_api.h"
#include "model/manifest.h"
#include "model/place.h"
#include "pool/extensions.h"

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

std::string in_model_folder(const std::string& file) {
  return file.empty() ? sandbox::kModelFolder : std::string(sandbox::kModelFolder) + "/" + file;
}

// What a conversation that brings no system message begins with; the rest is the model's own template.
std::string with_system_prompt(const model::FunctionConfig& config) {
  std::string quoted;
  for (const char c : config.system_prompt) {
    if (c == '\\' || c == '\'') quoted += '\\';
    if (c == '\n') {
      quoted += "\\n";
    } else {
      quoted += c;
    }
  }
  return "{%- if not messages or messages[0].role != 'system' -%}{%- set messages = [{'role': 'system', 'content': '" +
         quoted + "'}] + messages -%}{%- endif -%}" + config.resolved.chat_template;
}

std::vector<std::string> llama_command(const model::FunctionConfig& config, const std::string& port) {
  // The share, to the nearest: of 1.16 vCPUs two threads make less than one, because each waits at the end of every
  // operation for the other, which is throttled; of 1.74 they make more.
  const std::uint32_t share = std::max(1U, (model::cpu_milli(config.memory_mb) + 500) / 1000);
  const std::string threads = std::to_string(std::min(share, std::max(1U, std::thread::hardware_concurrency())));
  std::uint32_t context = config.context;
  if (context == 0) {
    context = config.resolved.context_trained == 0 ? model::kContextDefault
                                                   : std::min(model::kContextDefault, config.resolved.context_trained);
  }
  const std::string total = std::to_string(std::uint64_t{context} * config.concurrency);
  std::vector<std::string> argv{"/opt/thaw/llama-server"};
  const auto option = [&](const char* name, std::string value) {
    argv.emplace_back(name);
    argv.push_back(std::move(value));
  };
  option("--model", in_model_folder(config.resolved.file));
  option("--alias", config.name);
  option("--host", "127.0.0.1");
  option("--port", port);
  option("--threads", threads);
  option("--threads-batch", threads);
  // Threads that wait for work by spinning use up the share of those that have some.
  option("--poll", "0");
  option("--threads-http", "4");
  option("--parallel", std::to_string(config.concurrency));
  option("--ctx-size", total);
  // What Thaw has decided is not fitted to the machine, and earlier prompts are kept in the slots alone: private memory
  // is what a clone costs.
  option("--fit", "off");
  option("--cache-ram", "0");
  option("--ctx-checkpoints", "0");
  argv.emplace_back("--offline");
  if (config.resolved.embeds) {
    argv.emplace_back("--embeddings");
    // A text must fit into one of them.
    option("--ubatch-size", std::to_string(context));
    option("--batch-size", std::to_string(context));
  }
  if (!config.system_prompt.empty() && !config.resolved.chat_template.empty())
    option("--chat-template", with_system_prompt(config));
  argv.insert(argv.end(), config.engine_arguments.begin(), config.engine_arguments.end());
  return argv;
}

using Variables = std::map<std::string, std::string>;

// "YYYY/MM/DD/[VERSION]" and 32 hexadecimal digits: each environment has a stream of its own.
std::string log_stream_name(const std::string& version) {
  const std::time_t now = std::time(nullptr);
  std::tm date{};
  ::gmtime_r(&now, &date);
  char day[16];
  std::strftime(day, sizeof(day), "%Y/%m/%d", &date);
  std::string unique = random_uuid();
  std::erase(unique, '-');
  return std::string(day) + "/[" + version + "]" + unique;
}

// What the function's own variables may replace ("Defined runtime environment variables", AWS Lambda Developer Guide).
void set_event_defaults(const model::FunctionConfig& config, Variables& variables) {
  variables["PATH"] = "/usr/local/bin:/usr/bin:/bin:/opt/bin";
  variables["LD_LIBRARY_PATH"] = "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib";
  variables["TZ"] = ":UTC";
  variables["AWS_XRAY_CONTEXT_MISSING"] = "LOG_ERROR";
  if (config.runtime.starts_with(model::kRuntimePython)) variables["PYTHONPATH"] = "/var/runtime/python";
  if (config.runtime.starts_with(model::kRuntimeNode)) {
    const std::string major = config.runtime.substr(0, config.runtime.find('.'));  // "nodejs20"
    variables["NODE_PATH"] = "/opt/nodejs/" + std::string("node") + major.substr(model::kRuntimeNode.size()) +
                             "/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules";
  }
}

// What it may not: the reserved ones.
void set_event_variables(const model::FunctionRecord& record, Variables& variables) {
  const model::FunctionConfig& config = record.config;
  variables["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:" + std::to_string(invoke::kRuntimeApiPort);
  variables["_HANDLER"] = config.handler;
  variables["LAMBDA_TASK_ROOT"] = "/var/task";
  variables["LAMBDA_RUNTIME_DIR"] = "/var/runtime";
  if (!config.runtime.empty()) variables["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + config.runtime;
  variables["AWS_REGION"] = variables["AWS_DEFAULT_REGION"] = model::place().region;
  if (!config.log_format.empty()) variables["AWS_LAMBDA_LOG_FORMAT"] = config.log_format;
  if (!config.log_level.empty()) variables["AWS_LAMBDA_LOG_LEVEL"] = config.log_level;
  variables["AWS_LAMBDA_LOG_GROUP_NAME"] = "/aws/lambda/" + config.name;
  variables["AWS_LAMBDA_LOG_STREAM_NAME"] = log_stream_name(record.version);
  if (config.concurrency > 1) variables["AWS_LAMBDA_MAX_CONCURRENCY"] = std::to_string(config.concurrency);
}

}  // namespace

// A managed runtime runs on the interpreter of its version, or on the machine's own where that one is not installed.
std::vector<std::string> runtime_command(const std::string& runtime) {
  if (runtime.starts_with(model::kRuntimePython)) {
    const std::string exact = "/usr/bin/" + runtime;
    return {::access(exact.c_str(), X_OK) == 0 ? exact : "/usr/bin/python3", "/var/runtime/python/bootstrap.py"};
  }
  if (runtime.starts_with(model::kRuntimeNode)) return {"node", "/var/runtime/node/bootstrap.mjs"};
  return {kBootstrap};
}

sandbox::EnvironmentSpec start_spec(const model::FunctionRecord& record, const char* initialization_type) {
  const model::FunctionConfig& config = record.config;
  const std::string port = std::to_string(config.port);
  sandbox::EnvironmentSpec spec;
  spec.memory_bytes = std::uint64_t{config.memory_mb} << 20;
  spec.tmp_bytes = std::uint64_t{config.ephemeral_mb} << 20;
  spec.cpu_milli = model::cpu_milli(config.memory_mb);
  spec.pids_max = kProcessesMax;
  if (config.engine == "thaw-onnx") {
    spec.engine = sandbox::Engine::installed;
    const std::string folder = config.model.empty() ? "/var/task" : sandbox::kModelFolder;
    spec.argv = {"/opt/thaw/thaw-onnx", "--model", folder, "--listen", "127.0.0.1:" + port};
    if (!config.task.empty()) spec.argv.insert(spec.argv.end(), {"--task", config.task});
  } else if (config.engine == "llama-server") {
    spec.engine = sandbox::Engine::installed;
    spec.argv = llama_command(config, port);
  } else if (!config.runtime.empty()) {
    spec.argv = runtime_command(config.runtime);
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
  const bool takes_events = config.kind == model::FunctionKind::event;
  if (takes_events) set_event_defaults(config, variables);
  for (const auto& [name, value] : config.environment) variables[name] = value;
  spec.egress = config.egress;
  if (config.calls) {
    spec.calls_port = model::kCallsPort;
    variables["THAW_URL"] = "http://127.0.0.1:" + std::to_string(model::kCallsPort);
  }
  if (takes_events) {
    spec.runtime_api_port = invoke::kRuntimeApiPort;
    set_event_variables(record, variables);
  } else {
    variables["PORT"] = port;
  }
  variables["AWS_LAMBDA_FUNCTION_NAME"] = config.name;
  variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = std::to_string(config.memory_mb);
  variables["AWS_LAMBDA_FUNCTION_VERSION"] = record.version;
  variables["AWS_LAMBDA_INITIALIZATION_TYPE"] = initialization_type;
  variables["THAW_CPU_MILLI"] = std::to_string(spec.cpu_milli);
  for (const auto& [name, value] : variables) spec.environment.push_back(name + "=" + value);
  return spec;
}

}  // namespace thaw::pool
