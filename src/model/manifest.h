// The manifest, thaw.toml: what a package says about the function it holds. docs/manifest.md is its reference.
//
// Everything here comes from outside, so each key, type and range is checked before a FunctionConfig exists, and
// each error names the key, the value and the limit. Pure: no file is read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/function.h"

namespace thaw::model {

inline constexpr std::string_view kManifestFile = "thaw.toml";
inline constexpr std::string_view kEngineOnnx = "thaw-onnx";
inline constexpr std::string_view kEngineLlama = "llama-server";
// Stands for the manifest of a model folder that brings none.
inline constexpr std::string_view kBareModelManifest = "engine = \"thaw-onnx\"\n";
// The same, with preprocessor_config.json and without a tokenizer.
inline constexpr std::string_view kBareClassifierManifest = "engine = \"thaw-onnx\"\ntask = \"image-classification\"\n";
// The same of a GGUF file, by its name in the package or its address.
std::string bare_gguf_manifest(std::string_view model);

struct ManifestInput {
  // The text of thaw.toml, at most kManifestBytesMax.
  std::string_view manifest;
  // TOML text of the same keys, laid over the manifest: scalars replace, [environment] is merged by variable, and
  // a command or an engine replaces whichever of the two the manifest gives. May be empty.
  std::string_view overrides;
  // Unpacked size of the package: an engine's memory follows its model.
  std::uint64_t package_bytes = 0;
};

// The name may be empty in the result (the caller of deploy gives it then); all else is complete and valid.
// Errors: invalid_argument and too_large.
Result<FunctionConfig> read_manifest(const ManifestInput& input);

// Checks every field's range; the same rules as read_manifest(), for configurations that come another way.
Status validate(const FunctionConfig& config);
Status check_function_name(std::string_view name);
// Whether the function answers at NAME.localhost: a label of a host's name (RFC 1123, 2.1).
inline constexpr std::size_t kHostLabelBytesMax = 63;
bool is_host_label(std::string_view name);

// The managed runtimes, "python3.11" and "nodejs20.x": their versions follow, and ".x" for Node.
inline constexpr std::string_view kRuntimePython = "python3.";
inline constexpr std::string_view kRuntimeNode = "nodejs";
// Whether Thaw brings the runtime, so that the package holds the handler alone.
bool is_managed_runtime(std::string_view runtime);

// Whether the model is fetched from somewhere: "s3://bucket/key", not "model.gguf".
bool is_model_address(std::string_view model);

// What an engine's function gets where the manifest is silent.
FunctionConfig engine_defaults(std::string_view engine, std::uint64_t package_bytes);

// Splits a command line as a shell does (blanks, '…', "…", \), without any expansion. Unquoted characters that ask
// for a shell (| & ; < > ` and $() are errors, because no shell runs the command.
Result<std::vector<std::string>> split_command(std::string_view line);

// A manifest that reads back as the same configuration.
std::string to_toml(const FunctionConfig& config);

// The stored form, a JSON object with "format": 1 and every field (docs/formats/catalog.md).
std::string to_json(const FunctionConfig& config);
// Errors: corrupt for what to_json() cannot have written, unsupported for another format number.
Result<FunctionConfig> config_from_json(std::string_view json);

}  // namespace thaw::model
