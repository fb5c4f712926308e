// Images in memory, by the revision of the version that they belong to: read when one is asked for, given up when there
// is no room, the one unused longest first. Clones that run keep what they have mapped.
//
// Threads: any; who asks for an image that is being read waits for it. Errors: see load_image().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "snapshot/image_memory.h"

namespace thaw::snapshot {

class ImageCache {
 public:
  // bytes_max: an image that is larger alone is kept while it is the only one.
  explicit ImageCache(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  using Load = std::function<Result<ImageMemory>()>;
  Result<std::shared_ptr<const ImageMemory>> get(const std::string& revision_id, const Load& load);
  // One that is in memory already, whole, in place of what the revision had.
  void put(const std::string& revision_id, std::shared_ptr<const ImageMemory> memory);
  void forget(const std::string& revision_id);
  void forget_all();
  std::uint64_t bytes();

 private:
  struct Entry {
    std::mutex loading;
    std::shared_ptr<const ImageMemory> memory;  // guarded by loading
    // Guarded by ImageCache::mutex_.
    std::uint64_t bytes = 0;
    std::chrono::steady_clock::time_point used_at{};
  };

  void make_room(const std::string& keep);

  const std::uint64_t bytes_max_;
  std::mutex mutex_;  // not taken while an entry is being read
  std::unordered_map<std::string, std::shared_ptr<Entry>> entries_;
};

}  // namespace thaw::snapshot
