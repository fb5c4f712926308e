// A cache of this process in front of an online store: reads that it can answer never reach the store, and of many
// reads of one missing key one asks the store while the others wait for its answer.
//
//   fresh        given out: until `ttl` after the store was asked (`negative_ttl` where there was no row)
//   refreshed    a read in the last tenth of a fresh row's time asks the store anew; others get the row meanwhile
//   stale        for `stale` more, given out, marked, only where the store could not be asked
//
// So what another process writes is seen after `ttl` at the latest; what is written through this store, at once.
// Failures are not kept: the next read asks again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ports/online_store.h"

namespace thaw::features {

struct ReadThroughSettings {
  // Keys, values and what the cache needs for each; rows larger than a shard's part of it are not kept.
  std::size_t bytes_max = 64 << 20;
  std::chrono::milliseconds ttl = std::chrono::seconds(60);
  std::chrono::milliseconds negative_ttl = std::chrono::seconds(5);
  std::chrono::milliseconds stale{0};
  // How long a read waits for the answer that another one asked for.
  std::chrono::milliseconds wait_max = std::chrono::seconds(10);
  // For tests; empty: the machine's steady clock.
  std::function<std::chrono::steady_clock::time_point()> now;
};

// Since the start, of keys; bytes and entries: now.
struct ReadThroughCounts {
  std::uint64_t hits = 0;      // answered from the cache, negative ones included
  std::uint64_t negative = 0;  // of the hits: known not to be there
  std::uint64_t misses = 0;    // the store was asked
  std::uint64_t waits = 0;     // another read had asked already
  std::uint64_t stale = 0;     // given out though too old
  std::uint64_t loads = 0;     // calls of the store, each of one or many keys
  std::uint64_t failures = 0;  // of the loads
  std::uint64_t evictions = 0;
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
};

// Ownership: owns the store behind it.
// Threads: as every OnlineStore. No lock is held while the store is asked.
// Errors: the store's; of a read that waited too long, unavailable.
class ReadThroughStore final : public ports::OnlineStore {
 public:
  ReadThroughStore(std::unique_ptr<ports::OnlineStore> behind, ReadThroughSettings settings);
  ~ReadThroughStore() override;

  Status write(std::string_view table, std::span<const ports::OnlineRow> rows) override;
  Result<std::vector<std::optional<ports::OnlineRow>>> read(std::span<const ports::OnlineKey> keys) override;
  // Where all of them are fresh, none is to be refreshed, and their values have no more than 1 MB.
  std::optional<std::vector<std::optional<ports::OnlineRow>>> read_now(std::span<const ports::OnlineKey> keys) override;
  Result<std::vector<ports::OnlineRow>> scan(std::string_view table, std::string_view after,
                                             std::size_t count_max) override;
  Status remove(std::string_view table, std::span<const std::string> keys) override;
  Status drop(std::string_view table) override;
  std::string name() const override { return behind_->name(); }

  ReadThroughCounts counts() const;

 private:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Row = std::shared_ptr<const ports::OnlineRow>;  // null: there is none
  struct Entry;
  struct Load;
  struct Shard;
  struct Reading;
  class Loading;
  class Mutation;

  TimePoint now() const { return settings_.now ? settings_.now() : std::chrono::steady_clock::now(); }
  Shard& shard_of(std::string_view table, std::string_view key) const;
  void look_up(std::span<const ports::OnlineKey> keys, std::size_t at, TimePoint now, Reading& reading);
  void load(Reading& reading);
  std::optional<Error> collect(Reading& reading);
  void keep(const ports::OnlineKey& key, const Load& load, std::size_t at, TimePoint asked);

  const std::unique_ptr<ports::OnlineStore> behind_;
  const ReadThroughSettings settings_;
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace thaw::features
