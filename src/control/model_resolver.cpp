#include "control/model_resolver.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/sys.h"
#include "model/gguf.h"
#include "model/manifest.h"

namespace thaw::control {
namespace {

// It becomes an argument of the engine's, beside the environment variables (sandbox::kArgumentsBytesMax).
constexpr std::size_t kChatTemplateBytesMax = 32768;
constexpr std::size_t kPackageDigestsMax = 10000;

bool is_folder(const std::string& model) { return model.ends_with('/'); }

Error missing(const std::string& model) {
  return {ErrorKind::not_found, "model = \"" + model + "\": the package holds no such file"};
}

// What the engine is started with follows from the file's head.
Status read_head(const UniqueFd& file, const model::FunctionConfig& config, model::ResolvedModel& resolved) {
  auto found = model::read_gguf(file);
  if (!found.ok()) {
    Error error = std::move(found).error();
    error.message = "the model " + resolved.file + " " + error.message;
    return error;
  }
  const model::GgufInfo& head = *found;
  resolved.context_trained =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(head.context_length, model::kContextMax));
  resolved.embeds = head.has_pooling_type && head.pooling_type != 0;
  if (config.system_prompt.empty()) return {};
  if (head.chat_template.empty())
    return invalid_argument("system_prompt is given, but the model has no chat template that it could be part of");
  if (head.chat_template.size() > kChatTemplateBytesMax) {
    return Error{ErrorKind::too_large, "system_prompt is given, but the model's chat template is " +
                                           std::to_string(head.chat_template.size()) +
                                           " bytes, too large to be changed (" + std::to_string(kChatTemplateBytesMax) +
                                           ")"};
  }
  resolved.chat_template = head.chat_template;
  return {};
}

}  // namespace

Status ModelResolver::check_fits(const model::FunctionConfig& config, std::uint64_t bytes) const {
  const std::uint64_t together = bytes + (std::uint64_t{config.memory_mb} << 20);
  if (together <= memory_bytes_max_) return {};
  return Error{ErrorKind::too_large, "the model takes " + std::to_string(bytes >> 20) + " MB and an environment " +
                                         std::to_string(config.memory_mb) + " MB (memory_mb), but this daemon has " +
                                         std::to_string(memory_bytes_max_ >> 20) + " MB in all (memory_max_mb)"};
}

Result<model::ResolvedModel> ModelResolver::resolve(const Catalog::ModelQuestion& question) {
  const model::FunctionConfig& config = question.config;
  model::ResolvedModel resolved;
  const bool is_gguf = config.engine == model::kEngineLlama;
  if (is_gguf && is_folder(config.model))
    return invalid_argument("model = \"" + config.model + "\" is a folder: llama-server needs a GGUF file");
  UniqueFd file;
  if (model::is_model_address(config.model)) {
    ASSIGN_OR_RETURN(const store::ModelHold held,
                     models_.fetch({.uri = config.model, .sha256 = config.model_sha256, .digest = {}}));
    resolved.digest = held.info.digest;
    resolved.file = held.info.file;
    resolved.bytes = held.info.bytes;
    if (is_gguf) {
      ASSIGN_OR_RETURN(file, sys::openat(held.folder, held.info.file, O_RDONLY | O_NOFOLLOW));
    }
  } else if (!is_folder(config.model)) {
    auto opened = sys::openat(question.package, config.model, O_RDONLY | O_NOFOLLOW);
    struct stat info {};
    if (!opened.ok() || ::fstat(opened->get(), &info) != 0 || !S_ISREG(info.st_mode)) return missing(config.model);
    file = std::move(*opened);
    resolved.file = config.model.substr(config.model.rfind('/') + 1);
    resolved.bytes = static_cast<std::uint64_t>(info.st_size);
  }
  if (is_gguf) RETURN_IF_ERROR(read_head(file, config, resolved));
  RETURN_IF_ERROR(check_fits(config, resolved.bytes));
  return resolved;
}

Result<store::ModelHold> ModelResolver::hold(const model::FunctionRecord& record) {
  const model::FunctionConfig& config = record.config;
  store::ModelSource source{.uri = config.model, .sha256 = config.model_sha256, .digest = config.resolved.digest};
  if (model::is_model_address(config.model)) return models_.fetch(source);
  // A package never changes: what was found in it once is asked for by its digest, which needs no look at the disk.
  source.uri = "package:" + record.code_sha256 + "/" + config.model;
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = package_digests_.find(source.uri); known != package_digests_.end())
      source.digest = known->second;
  }
  auto held = models_.fetch(source);
  if (!held.ok()) return held;
  const std::lock_guard lock(mutex_);
  if (package_digests_.size() >= kPackageDigestsMax) package_digests_.clear();
  package_digests_[source.uri] = held->info.digest;
  return held;
}

}  // namespace thaw::control
