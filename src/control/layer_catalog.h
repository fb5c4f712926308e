// Layers on the packages of the catalog.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "control/layer_store.h"
#include "control/layers.h"
#include "control/package_store.h"

namespace thaw::control {

// Ownership: borrows all of it, which outlives it. Lock order: commit_mutex first.
class LayerCatalog final : public Layers {
 public:
  LayerCatalog(LayerStore& store, PackageStore& packages, std::mutex& commit_mutex)
      : store_(store), packages_(packages), commit_mutex_(commit_mutex) {}

  Result<model::LayerVersion> publish(const Publish& request) override;
  Status remove(std::string_view name, std::uint64_t version) override;
  std::optional<model::LayerVersion> find(std::string_view name, std::uint64_t version) const override {
    return store_.find(name, version);
  }
  std::vector<model::LayerVersion> versions(std::string_view name) const override { return store_.versions(name); }
  std::vector<model::LayerVersion> newest() const override { return store_.newest(); }

  // One folder that holds the layers, laid over one another in order: of a single one it is the layer's own.
  struct Laid {
    model::FunctionLayers layers;
    std::optional<PackageStore::Staged> staged;  // to be placed with the function's record
    std::vector<std::shared_ptr<const void>> holds;
  };
  // Errors: invalid_argument for a version that is not there.
  Result<Laid> lay(const std::vector<model::LayerUse>& uses);

 private:
  LayerStore& store_;
  PackageStore& packages_;
  std::mutex& commit_mutex_;
};

}  // namespace thaw::control
