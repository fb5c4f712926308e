#include "features/shared_cache.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "base/log.h"

namespace thaw::features {

using ports::OnlineKey;
using ports::OnlineRow;

namespace {

enum Kind : char { ask_the_store, a_row, no_row };

constexpr std::size_t kHeadBytes = 9;
// Longer than a read can be between the store's answer and the cache's.
constexpr std::chrono::milliseconds kMarkKept = std::chrono::seconds(30);

std::int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

OnlineRow mark_of(std::string key, Kind kind, std::int64_t event_ms, std::int64_t created_ms, std::int64_t expires_ms) {
  return {.key = std::move(key),
          .value = std::string(1, kind),
          .event_ms = event_ms,
          .created_ms = created_ms,
          .expires_ms = expires_ms};
}

OnlineRow cached_of(const OnlineRow& row, std::int64_t until_ms) {
  OnlineRow cached = row;
  cached.value.assign(1, a_row);
  for (int shift = 56; shift >= 0; shift -= 8)
    cached.value.push_back(static_cast<char>(static_cast<std::uint64_t>(row.expires_ms) >> shift));
  cached.value += row.value;
  cached.expires_ms = row.expires_ms == 0 ? until_ms : std::min(row.expires_ms, until_ms);
  return cached;
}

OnlineRow stored_of(OnlineRow cached) {
  std::uint64_t bits = 0;
  for (std::size_t i = 1; i < kHeadBytes; ++i) bits = bits << 8 | static_cast<unsigned char>(cached.value[i]);
  cached.expires_ms = static_cast<std::int64_t>(bits);
  cached.value.erase(0, kHeadBytes);
  return cached;
}

}  // namespace

SharedCacheStore::SharedCacheStore(std::unique_ptr<ports::OnlineStore> cache, std::unique_ptr<ports::OnlineStore> store,
                                   SharedCacheSettings settings)
    : cache_(std::move(cache)), store_(std::move(store)), settings_(settings) {}

void SharedCacheStore::note(const Status& done) {
  if (!done.ok()) ++failures_;
  if (away_.exchange(!done.ok()) == !done.ok()) return;
  if (done.ok())
    log::info("feature_cache_back cache={}", cache_->name());
  else
    log::warn("feature_cache_away error=\"{}\"", done.error().message);
}

// As many as keys; nothing where the cache has nothing.
std::vector<std::optional<OnlineRow>> SharedCacheStore::ask_cache(std::span<const OnlineKey> keys) {
  auto found = cache_->read(keys);
  note(found.ok() ? Status() : Status(found.error()));
  if (!found.ok() || found->size() != keys.size()) return std::vector<std::optional<OnlineRow>>(keys.size());
  return *std::move(found);
}

Result<std::vector<std::optional<OnlineRow>>> SharedCacheStore::read(std::span<const OnlineKey> keys) {
  std::vector<std::optional<OnlineRow>> rows = ask_cache(keys);
  std::vector<OnlineKey> missing;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string_view value = rows[i] ? std::string_view(rows[i]->value) : std::string_view();
    if (value.size() >= kHeadBytes && value.front() == a_row) {
      rows[i] = stored_of(*std::move(rows[i]));
    } else {
      const bool none = value.size() == 1 && value.front() == no_row;
      rows[i].reset();
      if (none) continue;
      missing.push_back(keys[i]);
      places.push_back(i);
    }
  }
  hits_ += keys.size() - missing.size();
  misses_ += missing.size();
  if (missing.empty()) return rows;
  ASSIGN_OR_RETURN(auto loaded, store_->read(missing));
  if (loaded.size() != missing.size())
    return internal_error(store_->name() + " answered another number of keys than it was asked for");
  fill(missing, loaded);
  for (std::size_t i = 0; i < missing.size(); ++i) rows[places[i]] = std::move(loaded[i]);
  return rows;
}

void SharedCacheStore::fill(std::span<const OnlineKey> keys, std::span<const std::optional<OnlineRow>> rows) {
  if (away_) return;
  const std::int64_t now_ms = wall_ms();
  std::map<std::string_view, std::vector<OnlineRow>> tables;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    std::vector<OnlineRow>& cached = tables[keys[i].table];
    if (!rows[i]) {
      constexpr std::int64_t kFirst = std::numeric_limits<std::int64_t>::min();
      cached.push_back(
          mark_of(std::string(keys[i].key), no_row, kFirst, kFirst, now_ms + settings_.negative_ttl.count()));
    } else if (rows[i]->value.size() + kHeadBytes <= ports::kOnlineValueBytesMax) {
      cached.push_back(cached_of(*rows[i], now_ms + settings_.ttl.count()));
    }
  }
  for (const auto& [table, cached] : tables)
    if (!cached.empty()) note(cache_->write(table, cached));
}

Status SharedCacheStore::write(std::string_view table, std::span<const OnlineRow> rows) {
  Status done = store_->write(table, rows);
  // Also after an error: some may be stored.
  const std::int64_t until_ms = wall_ms() + kMarkKept.count();
  std::vector<OnlineRow> marks;
  marks.reserve(rows.size());
  for (const OnlineRow& row : rows)
    marks.push_back(mark_of(row.key, ask_the_store, row.event_ms, row.created_ms, until_ms));
  note(cache_->write(table, marks));
  return done;
}

Result<std::vector<OnlineRow>> SharedCacheStore::scan(std::string_view table, std::string_view after,
                                                      std::size_t count_max) {
  return store_->scan(table, after, count_max);
}

// Nothing that the cache is told within the mark's time takes its place.
Status SharedCacheStore::remove(std::string_view table, std::span<const std::string> keys) {
  Status done = store_->remove(table, keys);
  constexpr std::int64_t kLast = std::numeric_limits<std::int64_t>::max();
  const std::int64_t until_ms = wall_ms() + kMarkKept.count();
  std::vector<OnlineRow> marks;
  marks.reserve(keys.size());
  for (const std::string& key : keys) marks.push_back(mark_of(key, ask_the_store, kLast, kLast, until_ms));
  note(cache_->write(table, marks));
  return done;
}

Status SharedCacheStore::drop(std::string_view table) {
  Status done = store_->drop(table);
  note(cache_->drop(table));
  return done;
}

SharedCacheCounts SharedCacheStore::counts() const { return {.hits = hits_, .misses = misses_, .failures = failures_}; }

}  // namespace thaw::features
