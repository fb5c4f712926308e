// A cache that several daemons share, in front of the online store that they share: rows of PostgreSQL in Redis. While
// the cache is away, the store alone is asked.
//
// The cache is an online store too, whose rows expire after `ttl` and of which the newest stays. That keeps it right:
// a write leaves a mark of its rows' times, which older rows cannot replace, so that a read that took an older row from
// the store and is late with it loses. A row that another daemon changed past the cache is seen after `ttl`.
//
// A value in the cache is
//   byte 0       0: ask the store; 1: a row; 2: the store has none
//   bytes 1-8    of a row: when it expires in the store, as OnlineRow says, big-endian
//   from 9 on    of a row: its value
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ports/online_store.h"

namespace thaw::features {

struct SharedCacheSettings {
  std::chrono::milliseconds ttl = std::chrono::seconds(60);
  std::chrono::milliseconds negative_ttl = std::chrono::seconds(5);
};

// Since the start, of keys.
struct SharedCacheCounts {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t failures = 0;  // calls of the cache that it did not answer
};

// Ownership: owns both. Threads: as every OnlineStore. Errors: the store's; the cache's are counted and logged once.
class SharedCacheStore final : public ports::OnlineStore {
 public:
  SharedCacheStore(std::unique_ptr<ports::OnlineStore> cache, std::unique_ptr<ports::OnlineStore> store,
                   SharedCacheSettings settings);

  Status write(std::string_view table, std::span<const ports::OnlineRow> rows) override;
  Result<std::vector<std::optional<ports::OnlineRow>>> read(std::span<const ports::OnlineKey> keys) override;
  Result<std::vector<ports::OnlineRow>> scan(std::string_view table, std::string_view after,
                                             std::size_t count_max) override;
  Status remove(std::string_view table, std::span<const std::string> keys) override;
  Status drop(std::string_view table) override;
  std::string name() const override { return store_->name(); }

  std::string cache_name() const { return cache_->name(); }
  SharedCacheCounts counts() const;

 private:
  std::vector<std::optional<ports::OnlineRow>> ask_cache(std::span<const ports::OnlineKey> keys);
  void fill(std::span<const ports::OnlineKey> keys, std::span<const std::optional<ports::OnlineRow>> rows);
  void note(const Status& done);

  const std::unique_ptr<ports::OnlineStore> cache_;
  const std::unique_ptr<ports::OnlineStore> store_;
  const SharedCacheSettings settings_;
  std::atomic<std::uint64_t> hits_ = 0;
  std::atomic<std::uint64_t> misses_ = 0;
  std::atomic<std::uint64_t> failures_ = 0;
  std::atomic<bool> away_ = false;
};

}  // namespace thaw::features
