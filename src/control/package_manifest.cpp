#include "control/package_manifest.h"

#include <fcntl.h>

#include "base/sys.h"
#include "control/entry_path.h"
#include "model/manifest.h"

namespace thaw::control {
namespace {

bool has_file(const UnpackedPackage& package, std::string_view path) {
  for (const PackageEntry& entry : package.entries) {
    if (entry.path == path)
      return entry.type == PackageEntry::Type::file || entry.type == PackageEntry::Type::executable;
  }
  return false;
}

// The only GGUF file at the package's top; empty when there is none, or more.
std::string only_gguf(const UnpackedPackage& package) {
  std::string found;
  for (const PackageEntry& entry : package.entries) {
    if (!entry.path.ends_with(".gguf") || entry.path.find('/') != std::string::npos) continue;
    if (!found.empty()) return {};
    found = entry.path;
  }
  return found;
}

bool has_model(const UnpackedPackage& package) {
  for (const PackageEntry& entry : package.entries) {
    if (entry.path.ends_with(".onnx") && entry.path.find('/') == std::string::npos) return true;
  }
  return false;
}

Error no_manifest(const UnpackedPackage& package) {
  std::string message =
      "the package has no thaw.toml at its top, and is no model: model.onnx with config.json, or one GGUF file";
  for (const PackageEntry& entry : package.entries) {
    const std::size_t slash = entry.path.find('/');
    if (slash != std::string::npos && entry.path.substr(slash + 1) == model::kManifestFile) {
      message += "; the one in \"" + shown_name(entry.path.substr(0, slash)) +
                 "\" does not count: zip what is in that folder, not the folder";
      break;
    }
  }
  return invalid_argument(std::move(message));
}

}  // namespace

Result<std::string> manifest_text(const PackageStore::Staged& staged) {
  if (!has_file(staged.content, model::kManifestFile)) {
    if (const std::string gguf = only_gguf(staged.content); !gguf.empty()) return model::bare_gguf_manifest(gguf);
    if (!has_file(staged.content, "model.onnx") || !has_file(staged.content, "config.json"))
      return no_manifest(staged.content);
    const bool has_text = has_file(staged.content, "tokenizer.json") || has_file(staged.content, "vocab.txt") ||
                          has_file(staged.content, "vocab.json");
    const bool classifies = !has_text && has_file(staged.content, "preprocessor_config.json");
    return std::string(classifies ? model::kBareClassifierManifest : model::kBareModelManifest);
  }
  ASSIGN_OR_RETURN(const UniqueFd fd,
                   sys::openat(staged.folder, std::string(model::kManifestFile), O_RDONLY | O_NOFOLLOW));
  return sys::read_fd(fd, model::kManifestBytesMax, model::kManifestFile);
}

Status check_engine_package(const model::FunctionConfig& config, const PackageStore::Staged& staged) {
  if (config.engine == model::kEngineOnnx && config.model.empty() &&
      (!has_model(staged.content) || !has_file(staged.content, "config.json"))) {
    return invalid_argument("the engine thaw-onnx needs a model (model.onnx) and config.json at the package's top");
  }
  return {};
}

}  // namespace thaw::control
