// The catalog's layers: versions of them, and what a function gets of those that it names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/layer.h"

namespace thaw::control {

// Versions of all layers together.
inline constexpr std::size_t kLayerVersionsMax = 10000;

// Ownership: the catalog's. Threads: every method from any thread; publish() and remove() do file I/O. What they have
// acknowledged survives kill -9.
class Layers {
 public:
  virtual ~Layers() = default;

  struct Publish {
    model::LayerVersion layer;  // version, time and code are found out here
    std::string package_path;   // as Catalog::Deploy's; its zip is kept
    std::uint64_t unpacked_bytes_max = 0;
  };
  // The next version of that name. Errors: as Catalog::change(); conflict beyond kLayerVersionsMax.
  virtual Result<model::LayerVersion> publish(const Publish& request) = 0;
  // Functions that use it keep what they have. Errors: not_found.
  virtual Status remove(std::string_view name, std::uint64_t version) = 0;

  virtual std::optional<model::LayerVersion> find(std::string_view name, std::uint64_t version) const = 0;
  // Newest first.
  virtual std::vector<model::LayerVersion> versions(std::string_view name) const = 0;
  // The newest of each, by name.
  virtual std::vector<model::LayerVersion> newest() const = 0;
};

}  // namespace thaw::control
