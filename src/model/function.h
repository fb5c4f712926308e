// What a function is: the configuration that a manifest gives, and the record that the catalog keeps.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/schedule.h"

namespace thaw::model {

// 1 vCPU per 1,769 MB ("Configure Lambda function memory", AWS Lambda Developer Guide).
inline constexpr std::uint32_t kMemoryMbPerVcpu = 1769;
inline constexpr std::uint32_t kMemoryMbMin = 128;
inline constexpr std::uint32_t kMemoryMbMax = 10240;
inline constexpr std::uint32_t kEphemeralMbMin = 1;
inline constexpr std::uint32_t kEphemeralMbMax = 10240;
inline constexpr std::uint32_t kTimeoutSecondsMax = 900;
inline constexpr std::uint32_t kInitTimeoutSecondsMax = 900;
inline constexpr std::uint32_t kConcurrencyMax = 1000;
inline constexpr std::uint32_t kEnvironmentsMax = 1000;
inline constexpr std::uint32_t kIdleSecondsMax = 86400;
inline constexpr std::uint32_t kQueueMax = 10000;
inline constexpr std::uint32_t kEventInitTimeoutSeconds = 10;  // Lambda's, for event functions
inline constexpr std::size_t kRuntimeBytesMax = 64;
inline constexpr std::size_t kHandlerBytesMax = 128;  // Lambda's, and so are the next two
inline constexpr std::size_t kHttpPayloadBytesMax = 3;
inline constexpr std::size_t kHttpStageBytesMax = 128;  // API Gateway's
inline constexpr std::size_t kFunctionDescriptionBytesMax = 256;
inline constexpr std::size_t kRoleBytesMax = 256;
inline constexpr std::size_t kNameBytesMax = 64;            // Lambda's.
inline constexpr std::size_t kEnvironmentBytesMax = 32768;  // Names and values of all variables together.
inline constexpr std::size_t kCommandBytesMax = 32768;
inline constexpr std::size_t kManifestBytesMax = 262144;
inline constexpr std::size_t kSchedulesMax = 32;  // of one manifest
inline constexpr std::size_t kWarmUpRequestsMax = 32;
inline constexpr std::size_t kWarmUpBytesMax = 65536;  // Paths and bodies of all of them together.
inline constexpr std::size_t kModelBytesMax = 2048;    // of a model's path or address
inline constexpr std::uint32_t kContextMax = 1U << 20;
inline constexpr std::size_t kSystemPromptBytesMax = 32768;
inline constexpr std::size_t kEngineArgumentsMax = 64;
// The version that a deploy replaces; the published ones have numbers.
inline constexpr std::string_view kLatestVersion = "$LATEST";

// A request that the making of a snapshot sends to the function, so that what runs on a first request only is in the
// snapshot. It must be answered with a status below 400.
struct WarmUpRequest {
  std::string method = "GET";
  std::string path = "/";
  std::string body;
  std::string content_type = "application/json";  // sent where there is a body

  bool operator==(const WarmUpRequest&) const = default;
};

// What a deploy has found out about the model that `model` names.
struct ResolvedModel {
  std::string digest;  // of its contents (store::ModelInfo::digest); empty where they are part of the package
  std::string file;    // what the engine opens, below /opt/ml/model
  std::uint64_t bytes = 0;
  std::uint32_t context_trained = 0;  // tokens that the model was trained for; 0: it does not say
  bool embeds = false;                // it makes embeddings, not text
  std::string chat_template;          // Jinja, where a system prompt is laid over it

  bool operator==(const ResolvedModel&) const = default;
};

// The zip as it was uploaded through Lambda's API, whose CodeSha256 and CodeSize are those of the file.
struct UploadedZip {
  std::string sha256;  // lower-case hex; empty: the package came another way
  std::uint64_t bytes = 0;

  bool operator==(const UploadedZip&) const = default;
};

// A version of a layer that a function names.
struct LayerUse {
  std::string name;
  std::uint64_t version = 0;
  std::uint64_t zip_bytes = 0;

  bool operator==(const LayerUse&) const = default;
};

// What a function sees at /opt.
struct FunctionLayers {
  std::vector<LayerUse> uses;    // each laid over those before
  std::string sha256;            // names the folder that holds all of them, among the packages; empty without any
  std::uint64_t code_bytes = 0;  // of all of them, unpacked

  bool operator==(const FunctionLayers&) const = default;
};

// How a function gets its requests: as an HTTP server in its environment, or as a client of the Runtime API there.
enum class FunctionKind : std::uint8_t { web, event };

struct FunctionConfig {
  // [A-Za-z0-9_-]+, at most kNameBytesMax; unique without regard to case.
  std::string name;
  // The argv of a web function, run in /var/task; "${PORT}" inside an argument becomes the port. Empty with an engine.
  std::vector<std::string> command;
  FunctionKind kind = FunctionKind::web;
  // Of an event function without a command, as AWS Lambda names it: "python3.11", "nodejs20.x", or "provided.al2023"
  // and its like, which run the package's file `bootstrap`.
  std::string runtime;
  // Of an event function: "file.function" for the managed runtimes, else what bootstrap makes of it.
  std::string handler;
  // Of an event function that is sent HTTP requests: "1.0" or "2.0", API Gateway's payload formats; empty: "2.0".
  std::string http_payload;
  // Of payload format 1.0: the first segment of every path, as an API's URL has its stage. Empty: there is none.
  std::string http_stage;
  // Of an event function, for its runtime: "Text" or "JSON" (empty: "Text"), and the least level that it logs, like
  // "WARN" (empty: the runtime's own). Lambda's LogFormat and ApplicationLogLevel.
  std::string log_format;
  std::string log_level;
  std::string description;  // Lambda's Description; a published version has its record's own
  std::string role;         // Lambda's Role: kept and given back, nothing more
  // "", "thaw-onnx" or "llama-server": a ready-made web function. The package of a thaw-onnx is the model's folder.
  std::string engine;
  // A file or folder of the package, or s3://, https://, hf: or file: (docs/models.md). It is fetched into memory that
  // all environments of the machine share, and lies at /opt/ml/model in each.
  std::string model;
  std::string model_sha256;  // what a single file must be, lower-case hex; empty: not known
  ResolvedModel resolved;    // never from a manifest, and so is the next
  UploadedZip zip;
  FunctionLayers layers;
  // Of llama-server: tokens of one conversation, 0: what the model was trained for, at most kContextDefault.
  std::uint32_t context = 0;
  std::string system_prompt;                  // of conversations that bring none
  std::vector<std::string> engine_arguments;  // behind those that Thaw gives
  // For thaw-onnx: "question-answering" or "image-classification". Empty: from the model's config.json.
  std::string task;
  std::map<std::string, std::string> environment;
  std::uint32_t memory_mb = 512;
  // Bound of the private /tmp. It lives in memory and counts towards memory_mb.
  std::uint32_t ephemeral_mb = 512;
  std::uint32_t timeout_s = 30;
  std::uint32_t init_timeout_s = 60;
  // Invocations at a time in one environment.
  std::uint32_t concurrency = 1;
  std::uint32_t environments_max = 10;
  // Invocations that may wait for an environment; one more is answered 429.
  std::uint32_t queue_max = 1000;
  std::uint32_t idle_s = 300;
  std::uint16_t port = 8080;
  // Polled with GET during init until it answers any status below 500.
  std::string readiness_path = "/";
  // Published versions start from a snapshot of an initialised environment. What follows here belongs to it.
  bool snapshot = false;
  std::vector<WarmUpRequest> warm_up;
  // Of an event function: when it gets events of itself.
  std::vector<ScheduleSpec> schedules;
  // Where the function is told with POST that it is about to be frozen, and each clone that it has been restored.
  // Empty: it is not told.
  std::string before_snapshot_path;
  std::string after_restore_path;
  // An open connection refuses the snapshot; otherwise it comes back as one that the peer has reset.
  bool strict_connections = false;

  // Its connections may leave its own network namespace. Otherwise there is nothing but its loopback.
  bool egress = false;

  // It reaches other functions at the address in THAW_URL, which is inside its own network (docs/calls.md).
  bool calls = false;

  bool operator==(const FunctionConfig&) const = default;
};

inline constexpr std::uint32_t kContextDefault = 4096;
// Where THAW_URL leads, inside the environment of a function with `calls`: beside Lambda's Runtime API at 9001.
inline constexpr std::uint16_t kCallsPort = 9002;
// A call counts how many calls have led to it; one more than this is refused, so that functions that call each other
// in a circle end. It is less than environments_max by default: a function that calls itself meets this bound before it
// waits for environments that wait for it.
inline constexpr std::uint32_t kCallHopsMax = 8;

struct FunctionRecord {
  FunctionConfig config;
  // SHA-256 over the package's canonical content, lower-case hex; names its folder.
  std::string code_sha256;
  std::uint64_t code_bytes = 0;
  // New with every deploy, and with every version that is published.
  std::string revision_id;
  // ISO 8601 as Lambda writes it: 2026-01-31T12:00:00.000+0000.
  std::string last_modified;
  // kLatestVersion, or a published version's number in decimal.
  std::string version{kLatestVersion};
  // What its publisher said of a version; empty for kLatestVersion.
  std::string description;

  bool operator==(const FunctionRecord&) const = default;
};

// Milli-vCPUs of a memory size, in proportion (1769 MB = 1000).
constexpr std::uint32_t cpu_milli(std::uint32_t memory_mb) {
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(memory_mb) * 1000 / kMemoryMbPerVcpu);
}

}  // namespace thaw::model
