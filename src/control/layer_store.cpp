#include "control/layer_store.h"

#include <unistd.h>

#include <filesystem>
#include <mutex>

#include "base/sys.h"
#include "model/version.h"

namespace thaw::control {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFileBytesMax = 64 << 10;
constexpr std::string_view kThere = ".json";
constexpr std::string_view kGone = ".gone";

}  // namespace

Status LayerStore::open(std::string folder) {
  folder_ = std::move(folder);
  RETURN_IF_ERROR(sys::make_directories(folder_, 0700));
  std::error_code code;
  for (fs::directory_iterator at(folder_, code), end; !code && at != end; at.increment(code)) {
    const std::string name = at->path().filename().string();
    // What else lies here is not ours.
    if (model::check_layer_name(name).ok() && at->is_directory(code)) RETURN_IF_ERROR(load(name));
  }
  if (code) return sys::errno_error(folder_, code.value());
  return {};
}

Status LayerStore::load(const std::string& name) {
  std::error_code code;
  for (fs::directory_iterator at(folder_ + "/" + name, code), end; !code && at != end; at.increment(code)) {
    const auto number = model::version_number(at->path().stem().string());
    const std::string suffix = at->path().extension().string();
    if (!number || (suffix != kThere && suffix != kGone)) continue;
    Layer& layer = layers_[name];
    layer.last_number = std::max(layer.last_number, *number);
    if (suffix == kGone) continue;
    ASSIGN_OR_RETURN(const std::string text, sys::read_file(at->path().string(), kFileBytesMax));
    auto read = model::layer_from_json(text);
    if (read.ok() && (read->name != name || read->version != *number))
      read = Error{ErrorKind::corrupt, "it is of another layer"};
    if (!read.ok()) {
      return Error{read.error().kind,
                   at->path().string() + ": " + read.error().message + "; restore it from a copy, or move it away"};
    }
    count_reference(read->code_sha256, +1);
    layer.versions.emplace(*number, std::move(*read));
    ++count_;
  }
  if (code) return sys::errno_error(folder_ + "/" + name, code.value());
  return {};
}

std::optional<model::LayerVersion> LayerStore::find(std::string_view name, std::uint64_t version) const {
  const std::shared_lock lock(mutex_);
  const auto layer = layers_.find(name);
  if (layer == layers_.end()) return std::nullopt;
  const auto found = layer->second.versions.find(version);
  return found == layer->second.versions.end() ? std::nullopt : std::optional(found->second);
}

std::vector<model::LayerVersion> LayerStore::versions(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  std::vector<model::LayerVersion> found;
  const auto layer = layers_.find(name);
  if (layer == layers_.end()) return found;
  for (auto at = layer->second.versions.rbegin(); at != layer->second.versions.rend(); ++at)
    found.push_back(at->second);
  return found;
}

std::vector<model::LayerVersion> LayerStore::newest() const {
  const std::shared_lock lock(mutex_);
  std::vector<model::LayerVersion> found;
  for (const auto& [name, layer] : layers_) {
    if (!layer.versions.empty()) found.push_back(layer.versions.rbegin()->second);
  }
  return found;
}

std::size_t LayerStore::count() const {
  const std::shared_lock lock(mutex_);
  return count_;
}

bool LayerStore::references(const std::string& code_sha256) const {
  const std::shared_lock lock(mutex_);
  return references_.contains(code_sha256);
}

std::uint64_t LayerStore::next_number(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  const auto layer = layers_.find(name);
  return layer == layers_.end() ? 1 : layer->second.last_number + 1;
}

std::string LayerStore::path(std::string_view name, std::uint64_t version) const {
  return folder_ + "/" + std::string(name) + "/" + std::to_string(version);
}

Status LayerStore::put(const model::LayerVersion& layer) {
  RETURN_IF_ERROR(sys::make_directories(folder_ + "/" + layer.name, 0700));
  RETURN_IF_ERROR(
      sys::write_file_atomically(path(layer.name, layer.version) + std::string(kThere), model::to_json(layer), 0600));
  const std::unique_lock lock(mutex_);
  Layer& entry = layers_[layer.name];
  entry.last_number = std::max(entry.last_number, layer.version);
  count_reference(layer.code_sha256, +1);
  entry.versions.insert_or_assign(layer.version, layer);
  ++count_;
  return {};
}

Status LayerStore::erase(const model::LayerVersion& layer) {
  const std::string at = path(layer.name, layer.version);
  // The mark first: whatever a crash leaves, the number is known.
  RETURN_IF_ERROR(sys::write_file_atomically(at + std::string(kGone), "", 0600));
  if (::unlink((at + std::string(kThere)).c_str()) != 0) return sys::errno_error(at);
  const std::unique_lock lock(mutex_);
  count_reference(layer.code_sha256, -1);
  layers_[layer.name].versions.erase(layer.version);
  --count_;
  return {};
}

void LayerStore::count_reference(const std::string& code_sha256, int by) {
  std::uint32_t& count = references_[code_sha256];
  count = static_cast<std::uint32_t>(static_cast<int>(count) + by);
  if (count == 0) references_.erase(code_sha256);
}

}  // namespace thaw::control
