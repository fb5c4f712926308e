#include "control/layer_catalog.h"

#include "base/timestamp.h"
#include "control/catalog.h"

namespace thaw::control {

Result<model::LayerVersion> LayerCatalog::publish(const Publish& request) {
  RETURN_IF_ERROR(model::check_layer(request.layer));
  const PackageStore::Unpack how{.unpacked_bytes_max = request.unpacked_bytes_max, .keep_zip = true};
  auto staged = packages_.unpack(request.package_path, how);
  if (!staged.ok()) return package_fault(std::move(staged).error());
  RETURN_IF_ERROR(packages_.sync(*staged));
  model::LayerVersion layer = request.layer;
  layer.code_sha256 = staged->content.sha256;
  layer.code_bytes = staged->content.bytes;
  layer.created_at = timestamp_now();
  const std::lock_guard lock(commit_mutex_);
  if (store_.count() >= kLayerVersionsMax) {
    return Error{ErrorKind::conflict, "there are " + std::to_string(kLayerVersionsMax) +
                                          " versions of layers, which is the most: delete some of them"};
  }
  layer.version = store_.next_number(layer.name);
  RETURN_IF_ERROR(packages_.place(*staged));
  if (auto status = store_.put(layer); !status) {
    packages_.collect(layer.code_sha256);
    return std::move(status).error();
  }
  return layer;
}

Status LayerCatalog::remove(std::string_view name, std::uint64_t version) {
  std::string code_sha256;
  {
    const std::lock_guard lock(commit_mutex_);
    const auto layer = store_.find(name, version);
    if (!layer) return Error{ErrorKind::not_found, "The resource you requested does not exist."};
    RETURN_IF_ERROR(store_.erase(*layer));
    code_sha256 = layer->code_sha256;
  }
  packages_.collect(code_sha256);
  return {};
}

Result<LayerCatalog::Laid> LayerCatalog::lay(const std::vector<model::LayerUse>& uses) {
  Laid laid;
  std::vector<UniqueFd> folders;
  std::string names;
  for (const model::LayerUse& use : uses) {
    const auto layer = store_.find(use.name, use.version);
    // Held first, found again: from then on it stays.
    auto held = layer ? packages_.hold(layer->code_sha256) : Error{ErrorKind::not_found, {}};
    if (!held.ok())
      return invalid_argument("Layer version " + use.name + ":" + std::to_string(use.version) + " does not exist.");
    laid.holds.push_back(std::move(held->hold));
    folders.push_back(std::move(held->folder));
    names += layer->code_sha256 + "\n";
    laid.layers.code_bytes += layer->code_bytes;
    laid.layers.uses.push_back({.name = use.name, .version = use.version, .zip_bytes = layer->zip.bytes});
    laid.layers.sha256 = layer->code_sha256;
  }
  if (folders.size() < 2) return laid;
  ASSIGN_OR_RETURN(PackageStore::Staged merged, packages_.merge(folders, names));
  RETURN_IF_ERROR(packages_.sync(merged));
  laid.layers.sha256 = merged.content.sha256;
  laid.staged.emplace(std::move(merged));
  return laid;
}

}  // namespace thaw::control
