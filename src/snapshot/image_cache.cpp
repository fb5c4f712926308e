#include "snapshot/image_cache.h"

#include <algorithm>

namespace thaw::snapshot {

Result<std::shared_ptr<const ImageMemory>> ImageCache::get(const std::string& revision_id, const Load& load) {
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    auto& place = entries_[revision_id];
    if (place == nullptr) place = std::make_shared<Entry>();
    place->used_at = std::chrono::steady_clock::now();
    entry = place;
  }
  std::shared_ptr<const ImageMemory> memory;
  {
    const std::lock_guard lock(entry->loading);
    if (entry->memory != nullptr) return entry->memory;
    auto loaded = load();
    if (!loaded.ok()) return loaded.error();
    memory = entry->memory = std::make_shared<const ImageMemory>(std::move(loaded).value());
  }
  const std::lock_guard lock(mutex_);
  entry->bytes = memory->bytes;
  make_room(revision_id);
  return memory;
}

void ImageCache::put(const std::string& revision_id, std::shared_ptr<const ImageMemory> memory) {
  auto entry = std::make_shared<Entry>();
  entry->bytes = memory->bytes;
  entry->used_at = std::chrono::steady_clock::now();
  entry->memory = std::move(memory);
  const std::lock_guard lock(mutex_);
  entries_[revision_id] = std::move(entry);
  make_room(revision_id);
}

void ImageCache::make_room(const std::string& keep) {
  std::uint64_t bytes = 0;
  for (const auto& [revision, entry] : entries_) bytes += entry->bytes;
  while (bytes > bytes_max_ && entries_.size() > 1) {
    auto oldest = entries_.end();
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
      if (at->first == keep || at->second->bytes == 0) continue;
      if (oldest == entries_.end() || at->second->used_at < oldest->second->used_at) oldest = at;
    }
    if (oldest == entries_.end()) return;
    bytes -= oldest->second->bytes;
    entries_.erase(oldest);
  }
}

void ImageCache::forget(const std::string& revision_id) {
  const std::lock_guard lock(mutex_);
  entries_.erase(revision_id);
}

void ImageCache::forget_all() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
}

std::uint64_t ImageCache::bytes() {
  const std::lock_guard lock(mutex_);
  std::uint64_t bytes = 0;
  for (const auto& [revision, entry] : entries_) bytes += entry->bytes;
  return bytes;
}

}  // namespace thaw::snapshot
