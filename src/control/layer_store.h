// The versions of layers on disk and in memory.
//
//   DATA/layers/NAME/VERSION.json   one that is there (model::to_json)
//   DATA/layers/NAME/VERSION.gone   one that was deleted: its number is not given again
//
// Ownership: the folder. Threads: find(), versions(), newest() and references() from any; the others one at a time (the
// catalog's lock). Errors: corrupt names the file; unavailable when the disk is full. Cost: under 1 KB a version.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "model/layer.h"

namespace thaw::control {

class LayerStore {
 public:
  // Makes the folder, or reads what is there. Once, first.
  Status open(std::string folder);

  std::optional<model::LayerVersion> find(std::string_view name, std::uint64_t version) const;
  // Newest first.
  std::vector<model::LayerVersion> versions(std::string_view name) const;
  // The newest of each layer, by name.
  std::vector<model::LayerVersion> newest() const;
  std::size_t count() const;
  // Whether a version names this package.
  bool references(const std::string& code_sha256) const;

  std::uint64_t next_number(std::string_view name) const;
  // On the disk when it returns.
  Status put(const model::LayerVersion& layer);
  Status erase(const model::LayerVersion& layer);

 private:
  struct Layer {
    std::map<std::uint64_t, model::LayerVersion> versions;
    std::uint64_t last_number = 0;
  };

  Status load(const std::string& name);
  std::string path(std::string_view name, std::uint64_t version) const;
  void count_reference(const std::string& code_sha256, int by);

  std::string folder_;
  mutable std::shared_mutex mutex_;
  // Guarded by mutex_.
  std::map<std::string, Layer, std::less<>> layers_;
  std::unordered_map<std::string, std::uint32_t> references_;
  std::size_t count_ = 0;
};

}  // namespace thaw::control
