#include "gateway/function_json.h"

#include <boost/json/array.hpp>

#include "base/base64.h"
#include "gateway/layer_name.h"
#include "model/manifest.h"
#include "model/place.h"

namespace thaw::gateway {
namespace {

unsigned nibble(char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : (c | 32) - 'a' + 10); }

boost::json::object logging(const model::FunctionConfig& config) {
  boost::json::object logging{{"LogFormat", config.log_format.empty() ? "Text" : config.log_format},
                              {"LogGroup", "/aws/lambda/" + config.name}};
  if (config.log_format == "JSON") {
    logging["ApplicationLogLevel"] = config.log_level.empty() ? "INFO" : config.log_level;
    logging["SystemLogLevel"] = "INFO";
  }
  return logging;
}

}  // namespace

std::string base64_of_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(nibble(hex[i]) * 16 + nibble(hex[i + 1]));
  return base64_encoded(bytes);
}

const std::string& code_digest(const model::FunctionRecord& record) {
  return record.config.zip.sha256.empty() ? record.code_sha256 : record.config.zip.sha256;
}

std::string function_arn(std::string_view name, std::string_view qualifier) {
  return "arn:aws:lambda:" + model::place().region + ":" + model::place().account + ":function:" + std::string(name) +
         (qualifier.empty() ? "" : ":") + std::string(qualifier);
}

boost::json::object function_configuration(const model::FunctionRecord& record, std::string_view qualifier,
                                           const std::string& host, std::uint16_t port) {
  const model::FunctionConfig& config = record.config;
  boost::json::object variables;
  for (const auto& [name, value] : config.environment) variables[name] = value;
  boost::json::array command;
  for (const std::string& argument : config.command) command.emplace_back(argument);
  const std::string at = ":" + std::to_string(port);
  const bool published = record.version != model::kLatestVersion;
  boost::json::object thaw{
      {"Kind", config.kind == model::FunctionKind::event ? "event" : "web"},
      {"Engine", config.engine},
      {"Task", config.task},
      {"Command", std::move(command)},
      {"Concurrency", config.concurrency},
      {"EnvironmentsMax", config.environments_max},
      {"QueueMax", config.queue_max},
      {"IdleSeconds", config.idle_s},
      {"InitTimeoutSeconds", config.init_timeout_s},
      {"ReadinessPath", config.readiness_path},
      {"Port", config.port},
      {"Egress", config.egress},
      {"Calls", config.calls},
      {"Snapshot", config.snapshot},
      {"WarmUpRequests", config.warm_up.size()},
      {"BeforeSnapshotPath", config.before_snapshot_path},
      {"AfterRestorePath", config.after_restore_path},
      {"StrictConnections", config.strict_connections},
  };
  thaw["Url"] = "http://" + host + at + "/fn/" + config.name + (published ? ":" + record.version : "") + "/";
  if (model::is_host_label(config.name))
    thaw["HostUrl"] = "http://" + (published ? record.version + "." : "") + config.name + ".localhost" + at + "/";
  if (!config.model.empty()) {
    thaw["Model"] = boost::json::object{{"Uri", config.model},
                                        {"File", config.resolved.file},
                                        {"Bytes", config.resolved.bytes},
                                        {"Digest", config.resolved.digest},
                                        {"ContextTrained", config.resolved.context_trained}};
    if (config.engine == "llama-server") {
      thaw["Context"] = config.context;
      thaw["SystemPrompt"] = config.system_prompt;
    }
  }
  boost::json::object configuration{
      {"FunctionName", config.name},
      {"FunctionArn", function_arn(config.name, qualifier)},
      {"Description", record.description.empty() ? config.description : record.description},
      {"CodeSize", config.zip.sha256.empty() ? record.code_bytes : config.zip.bytes},
      {"CodeSha256", base64_of_hex(code_digest(record))},
      {"Timeout", config.timeout_s},
      {"MemorySize", config.memory_mb},
      {"LastModified", record.last_modified},
      {"Version", record.version},
      {"RevisionId", record.revision_id},
      {"State", "Active"},
      {"LastUpdateStatus", "Successful"},
      {"PackageType", "Zip"},
      {"Architectures", boost::json::array{"x86_64"}},
      {"EphemeralStorage", boost::json::object{{"Size", config.ephemeral_mb}}},
      {"TracingConfig", boost::json::object{{"Mode", "PassThrough"}}},
      {"LoggingConfig", logging(config)},
      {"Environment", boost::json::object{{"Variables", std::move(variables)}}},
      {"Thaw", std::move(thaw)},
  };
  if (!config.layers.uses.empty()) {
    boost::json::array& layers = configuration["Layers"].emplace_array();
    for (const model::LayerUse& use : config.layers.uses) {
      layers.push_back(
          boost::json::object{{"Arn", layer_version_arn(use.name, use.version)}, {"CodeSize", use.zip_bytes}});
    }
  }
  if (!config.runtime.empty()) configuration["Runtime"] = config.runtime;
  if (!config.handler.empty()) configuration["Handler"] = config.handler;
  if (!config.role.empty()) configuration["Role"] = config.role;
  return configuration;
}

void add_snapshot(boost::json::object& configuration, const model::FunctionRecord& record,
                  const pool::SnapshotView& view) {
  const model::VersionState& state = view.state;
  configuration["State"] = model::to_string(state.phase);
  if (state.phase == model::VersionPhase::pending) {
    configuration["StateReason"] = "The version's snapshot is being made.";
    configuration["StateReasonCode"] = "Creating";
  } else if (state.phase == model::VersionPhase::failed) {
    configuration["StateReason"] = state.reason;
    configuration["StateReasonCode"] = state.reason_code;
  }
  const bool wanted = record.config.snapshot;
  const bool on = wanted && view.image_bytes > 0 && state.phase == model::VersionPhase::active;
  configuration["SnapStart"] = boost::json::object{{"ApplyOn", wanted ? "PublishedVersions" : "None"},
                                                   {"OptimizationStatus", on ? "On" : "Off"}};
  if (!wanted || record.version == model::kLatestVersion) return;
  configuration["Thaw"].as_object()["SnapshotState"] = boost::json::object{
      {"Bytes", on ? view.image_bytes : 0},
      {"MadeAt", on ? state.snapshot_made_at : ""},
      {"NoneBecause", on ? "" : state.no_snapshot},
      {"Making", view.making},
      {"Restores", view.restores},
      {"RestoresFailed", view.restores_failed},
  };
}

boost::json::object snapshot_totals(const pool::SnapshotTotals& totals) {
  return {
      {"Count", totals.images},
      {"Bytes", totals.disk_bytes},
      {"BytesMax", totals.disk_bytes_max},
      {"Pending", totals.pending},
      {"Making", totals.making},
      {"RemovedForRoom", totals.removed_for_room},
      {"Restores", totals.restores},
      {"RestoresFailed", totals.restores_failed},
  };
}

boost::json::object alias_configuration(const std::string& function_name, const model::Alias& alias) {
  boost::json::object configuration{
      {"AliasArn", function_arn(function_name, alias.name)},
      {"Name", alias.name},
      {"FunctionVersion", alias.function_version},
      {"Description", alias.description},
      {"RevisionId", alias.revision_id},
  };
  if (alias.additional) {
    configuration["RoutingConfig"] = boost::json::object{
        {"AdditionalVersionWeights", boost::json::object{{alias.additional->version, alias.additional->weight}}}};
  }
  return configuration;
}

boost::json::object function_environments(const pool::FunctionView& view) {
  boost::json::array environments;
  for (const pool::EnvironmentView& one : view.environments) {
    environments.push_back(boost::json::object{
        {"Id", one.id},
        {"State", std::string(pool::to_string(one.state))},
        {"Inflight", one.inflight},
        {"Invocations", one.invocations},
        {"AgeSeconds", one.age.count()},
        {"MemoryPeakMb", (one.memory_peak_bytes + (1 << 20) - 1) >> 20},
        {"InitMs", static_cast<double>(one.init_took.count()) / 1000.0},
    });
  }
  return {{"Environments", std::move(environments)}, {"Queued", view.queued}};
}

}  // namespace thaw::gateway
