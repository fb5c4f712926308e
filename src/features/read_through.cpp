#include "features/read_through.h"

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace thaw::features {

using ports::OnlineKey;
using ports::OnlineRow;

namespace {

constexpr std::size_t kShardsMax = 16;
constexpr std::size_t kShardBytesMin = 1 << 20;
// What an entry costs besides its bytes: list and map nodes, the row, the allocator's part.
constexpr std::size_t kEntryOverheadBytes = 256;
// Of values that read_now() copies: more of them keep a caller that must not block.
constexpr std::size_t kBytesNowMax = 1 << 20;

struct KeyHash {
  std::size_t operator()(const OnlineKey& key) const {
    const std::hash<std::string_view> hash;
    return hash(key.key) ^ (hash(key.table) * 0x9e3779b97f4a7c15ULL);
  }
};
struct KeyEqual {
  bool operator()(const OnlineKey& one, const OnlineKey& other) const {
    return one.key == other.key && one.table == other.table;
  }
};

std::int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

bool expired(const OnlineRow& row, std::int64_t now_ms) { return row.expires_ms != 0 && row.expires_ms <= now_ms; }

bool newer_or_equal(const OnlineRow& row, const OnlineRow& than) {
  return std::pair(row.event_ms, row.created_ms) >= std::pair(than.event_ms, than.created_ms);
}

}  // namespace

struct ReadThroughStore::Entry {
  std::string table;
  std::string key;
  Row row;
  TimePoint refreshed_from;
  TimePoint fresh_until;
  TimePoint kept_until;

  std::size_t bytes() const {
    return kEntryOverheadBytes + table.size() + 2 * key.size() + (row ? row->value.size() : 0);
  }
};

// One call of the store. Whoever makes it settles it, whatever happens.
struct ReadThroughStore::Load {
  std::vector<Row> rows;  // in the order of the keys
  std::optional<Error> error = internal_error("the online store's answer could not be taken in");

  // mutex guards done; rows and error are written before it is set, and read after.
  std::mutex mutex;
  std::condition_variable settled;
  bool done = false;

  bool wait(std::chrono::milliseconds wait_max) {
    std::unique_lock lock(mutex);
    return settled.wait_for(lock, wait_max, [this] { return done; });
  }
  void settle() {
    {
      const std::lock_guard lock(mutex);
      done = true;
    }
    settled.notify_all();
  }
};

struct ReadThroughStore::Shard {
  struct Flight {
    std::shared_ptr<Load> load;
    std::size_t at = 0;
  };
  using Entries = std::list<Entry>;

  mutable std::mutex mutex;  // guards all below
  std::size_t bytes_max = 0;
  Entries entries;  // the latest used first
  // The keys' bytes are the entry's.
  std::unordered_map<OnlineKey, Entries::iterator, KeyHash, KeyEqual> by_key;
  // What the store is being asked for. The keys' bytes are those of the asking read, which takes them out before it
  // returns.
  std::unordered_map<OnlineKey, Flight, KeyHash, KeyEqual> flights;
  std::uint64_t mutations_begun = 0;
  std::uint64_t mutations_open = 0;
  ReadThroughCounts counts;

  Entry* find(const OnlineKey& key) {
    const auto found = by_key.find(key);
    return found == by_key.end() ? nullptr : &*found->second;
  }
  void touch(const OnlineKey& key) { entries.splice(entries.begin(), entries, by_key.find(key)->second); }
  void erase(const OnlineKey& key) {
    const auto found = by_key.find(key);
    if (found == by_key.end()) return;
    const auto entry = found->second;
    counts.bytes -= entry->bytes();
    by_key.erase(found);  // before the bytes that its key points to
    entries.erase(entry);
  }
  void insert(Entry entry) {
    erase({entry.table, entry.key});
    if (entry.bytes() > bytes_max) return;
    counts.bytes += entry.bytes();
    entries.push_front(std::move(entry));
    by_key.emplace(OnlineKey{entries.front().table, entries.front().key}, entries.begin());
    while (counts.bytes > bytes_max) {
      ++counts.evictions;
      const Entry& last = entries.back();
      erase({last.table, last.key});
    }
  }
};

// What one read() knows so far.
struct ReadThroughStore::Reading {
  struct Answer {
    Row row;
    bool stale = false;
    std::shared_ptr<Load> load;  // null: row is the answer; else row is what is left if the load fails
    std::size_t at = 0;          // in the load
    bool fallback = false;       // whether row may be given out if the load fails
  };
  std::vector<Answer> answers;
  std::shared_ptr<Load> own;  // null: nothing to ask for
  std::vector<OnlineKey> missing;
};

// The read's own load from the moment that others may wait for it. On its end, by whatever way, nobody waits any more.
class ReadThroughStore::Loading {
 public:
  Loading(ReadThroughStore& store, Reading& reading) : store_(store), reading_(reading) {}
  Loading(const Loading&) = delete;
  Loading& operator=(const Loading&) = delete;
  ~Loading() {
    if (!reading_.own) return;
    for (const OnlineKey& key : reading_.missing) {
      Shard& shard = store_.shard_of(key.table, key.key);
      const std::lock_guard lock(shard.mutex);
      const auto flight = shard.flights.find(key);
      if (flight != shard.flights.end() && flight->second.load == reading_.own) shard.flights.erase(flight);
    }
    reading_.own->settle();
  }

 private:
  ReadThroughStore& store_;
  Reading& reading_;
};

// A change of the store's rows, from before the store is asked to until the cache knows. Where two of them overlap in a
// shard, in which order the store took them is not known: what they touch is forgotten then, not updated.
class ReadThroughStore::Mutation {
 public:
  explicit Mutation(ReadThroughStore& store) : store_(store), begun_(store.shards_.size()) {}
  Mutation(const Mutation&) = delete;
  Mutation& operator=(const Mutation&) = delete;
  ~Mutation() {
    for (std::size_t i = 0; i < begun_.size(); ++i) {
      if (!begun_[i].open) continue;
      const std::lock_guard lock(store_.shards_[i]->mutex);
      --store_.shards_[i]->mutations_open;
    }
  }

  void begin(Shard& shard) {
    Begun& begun = begun_[index(shard)];
    if (begun.open) return;
    const std::lock_guard lock(shard.mutex);
    begun = {.open = true, .alone = shard.mutations_open++ == 0, .number = ++shard.mutations_begun};
  }
  void begin_all() {
    for (const auto& shard : store_.shards_) begin(*shard);
  }
  // With the shard's mutex held.
  bool alone(const Shard& shard) const {
    const Begun& begun = begun_[index(shard)];
    return begun.alone && shard.mutations_begun == begun.number;
  }

 private:
  struct Begun {
    bool open = false;
    bool alone = false;
    std::uint64_t number = 0;
  };
  std::size_t index(const Shard& shard) const {
    std::size_t i = 0;
    while (store_.shards_[i].get() != &shard) ++i;
    return i;
  }

  ReadThroughStore& store_;
  std::vector<Begun> begun_;
};

ReadThroughStore::ReadThroughStore(std::unique_ptr<ports::OnlineStore> behind, ReadThroughSettings settings)
    : behind_(std::move(behind)), settings_(std::move(settings)) {
  const std::size_t count = std::clamp<std::size_t>(settings_.bytes_max / kShardBytesMin, 1, kShardsMax);
  for (std::size_t i = 0; i < count; ++i) {
    shards_.push_back(std::make_unique<Shard>());
    shards_.back()->bytes_max = settings_.bytes_max / count;
  }
}

ReadThroughStore::~ReadThroughStore() = default;

ReadThroughStore::Shard& ReadThroughStore::shard_of(std::string_view table, std::string_view key) const {
  // The maps use the low bits of the same hash.
  return *shards_[(KeyHash()({table, key}) >> 32) % shards_.size()];
}

void ReadThroughStore::look_up(std::span<const OnlineKey> keys, std::size_t at, TimePoint now, Reading& reading) {
  const OnlineKey& key = keys[at];
  Reading::Answer& answer = reading.answers[at];
  Shard& shard = shard_of(key.table, key.key);
  const std::lock_guard lock(shard.mutex);
  const auto flight = shard.flights.find(key);
  if (Entry* entry = shard.find(key)) {
    if (now >= entry->kept_until) {
      shard.erase(key);
    } else {
      const bool fresh = now < entry->fresh_until;
      const bool refresh = now >= entry->refreshed_from && flight == shard.flights.end();
      if (fresh || entry->row) {
        answer.row = entry->row;
        answer.stale = !fresh;
        answer.fallback = true;
      }
      shard.touch(key);
      if (fresh && !refresh) {
        ++shard.counts.hits;
        if (!entry->row) ++shard.counts.negative;
        return;
      }
    }
  }
  if (flight != shard.flights.end()) {
    answer.load = flight->second.load;
    answer.at = flight->second.at;
    ++shard.counts.waits;
    return;
  }
  if (!reading.own) reading.own = std::make_shared<Load>();
  answer.load = reading.own;
  answer.at = reading.missing.size();
  reading.missing.push_back(key);
  shard.flights.emplace(key, Shard::Flight{reading.own, answer.at});
  ++shard.counts.misses;
}

void ReadThroughStore::load(Reading& reading) {
  Load& load = *reading.own;
  const TimePoint asked = now();
  auto rows = behind_->read(reading.missing);
  Shard& first = shard_of(reading.missing.front().table, reading.missing.front().key);
  {
    const std::lock_guard lock(first.mutex);
    ++first.counts.loads;
    if (!rows.ok()) ++first.counts.failures;
  }
  if (!rows.ok()) {
    load.error = std::move(rows).error();
    return;
  }
  if (rows->size() != reading.missing.size()) {
    load.error = internal_error(behind_->name() + " answered another number of keys than it was asked for");
    return;
  }
  load.rows.reserve(rows->size());
  for (auto& row : *rows) load.rows.push_back(row ? std::make_shared<const OnlineRow>(std::move(*row)) : nullptr);
  load.error.reset();
  for (std::size_t i = 0; i < reading.missing.size(); ++i) keep(reading.missing[i], load, i, asked);
}

// Only while the load is the key's: a change that came meanwhile took it off, and its row may be the old one.
void ReadThroughStore::keep(const OnlineKey& key, const Load& load, std::size_t at, TimePoint asked) {
  const Row& row = load.rows[at];
  Shard& shard = shard_of(key.table, key.key);
  const std::lock_guard lock(shard.mutex);
  const auto flight = shard.flights.find(key);
  if (flight == shard.flights.end() || flight->second.load.get() != &load) return;
  shard.flights.erase(flight);
  const auto ttl = row ? settings_.ttl : settings_.negative_ttl;
  if ((row && row->stale) || ttl <= ttl.zero()) return shard.erase(key);
  Entry entry{.table = std::string(key.table), .key = std::string(key.key), .row = row};
  entry.fresh_until = asked + ttl;
  entry.refreshed_from = row ? asked + ttl * 9 / 10 : entry.fresh_until;
  entry.kept_until = entry.fresh_until + (row ? settings_.stale : settings_.stale.zero());
  shard.insert(std::move(entry));
}

// The answers of the loads; an error where there is neither one nor an older row.
std::optional<Error> ReadThroughStore::collect(Reading& reading) {
  const auto until = std::chrono::steady_clock::now() + settings_.wait_max;
  std::optional<Error> failed;
  for (Reading::Answer& answer : reading.answers) {
    if (!answer.load) continue;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    const bool settled = answer.load->wait(std::max(left, left.zero()));
    if (settled && !answer.load->error) {
      answer.row = answer.load->rows[answer.at];
      answer.stale = false;
    } else if (!answer.fallback && !failed) {
      failed = settled ? *answer.load->error
                       : Error(ErrorKind::unavailable, behind_->name() + " did not answer within " +
                                                           std::to_string(settings_.wait_max.count()) + " ms");
    }
  }
  return failed;
}

Result<std::vector<std::optional<OnlineRow>>> ReadThroughStore::read(std::span<const OnlineKey> keys) {
  if (keys.size() > ports::kOnlineKeysMax)
    return invalid_argument("at most " + std::to_string(ports::kOnlineKeysMax) + " keys can be read at once, not " +
                            std::to_string(keys.size()));
  Reading reading;
  reading.answers.resize(keys.size());
  {
    const Loading loading(*this, reading);
    const TimePoint looked = now();
    for (std::size_t i = 0; i < keys.size(); ++i) look_up(keys, i, looked, reading);
    if (reading.own) load(reading);
  }
  if (auto failed = collect(reading)) return *std::move(failed);

  std::vector<std::optional<OnlineRow>> rows(keys.size());
  const std::int64_t wall = wall_ms();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const Reading::Answer& answer = reading.answers[i];
    if (!answer.row || expired(*answer.row, wall)) continue;
    rows[i] = *answer.row;
    if (!answer.stale) continue;
    rows[i]->stale = true;
    Shard& shard = shard_of(keys[i].table, keys[i].key);
    const std::lock_guard lock(shard.mutex);
    ++shard.counts.stale;
  }
  return rows;
}

std::optional<std::vector<std::optional<OnlineRow>>> ReadThroughStore::read_now(std::span<const OnlineKey> keys) {
  std::vector<std::optional<OnlineRow>> rows(keys.size());
  if (keys.empty() || keys.size() > ports::kOnlineKeysMax) return std::nullopt;
  const TimePoint looked = now();
  const std::int64_t wall = wall_ms();
  std::size_t negative = 0;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    Row row;
    {
      Shard& shard = shard_of(keys[i].table, keys[i].key);
      const std::lock_guard lock(shard.mutex);
      const Entry* entry = shard.find(keys[i]);
      if (entry == nullptr || looked >= entry->refreshed_from) return std::nullopt;
      row = entry->row;
      shard.touch(keys[i]);
    }
    if (!row) ++negative;
    bytes += row ? row->value.size() : 0;
    if (bytes > kBytesNowMax) return std::nullopt;
    if (row && !expired(*row, wall)) rows[i] = *row;
  }
  // Counted once all are known: a read that could not be answered here is counted by read().
  Shard& first = shard_of(keys.front().table, keys.front().key);
  const std::lock_guard lock(first.mutex);
  first.counts.hits += keys.size();
  first.counts.negative += negative;
  return rows;
}

Status ReadThroughStore::write(std::string_view table, std::span<const OnlineRow> rows) {
  Mutation mutation(*this);
  for (const OnlineRow& row : rows) mutation.begin(shard_of(table, row.key));
  const Status done = behind_->write(table, rows);
  const TimePoint at = now();
  for (const OnlineRow& row : rows) {
    const OnlineKey key{table, row.key};
    Shard& shard = shard_of(table, row.key);
    const std::lock_guard lock(shard.mutex);
    shard.flights.erase(key);
    Entry* entry = shard.find(key);
    if (entry == nullptr) continue;
    if (!done.ok()) {
      // It may have been stored: only good any more where the store stays away.
      entry->fresh_until = entry->refreshed_from = std::min(at, entry->fresh_until);
      entry->kept_until = std::min(at + settings_.stale, entry->kept_until);
    } else if (!mutation.alone(shard)) {
      shard.erase(key);
    } else if (!entry->row || newer_or_equal(row, *entry->row)) {
      // Its times stay: what others write is seen no later for it.
      Entry changed = *entry;
      changed.row = std::make_shared<const OnlineRow>(row);
      shard.insert(std::move(changed));
    }
  }
  return done;
}

Result<std::vector<OnlineRow>> ReadThroughStore::scan(std::string_view table, std::string_view after,
                                                      std::size_t count_max) {
  return behind_->scan(table, after, count_max);
}

Status ReadThroughStore::remove(std::string_view table, std::span<const std::string> keys) {
  Mutation mutation(*this);
  for (const std::string& key : keys) mutation.begin(shard_of(table, key));
  Status done = behind_->remove(table, keys);
  for (const std::string& key : keys) {
    Shard& shard = shard_of(table, key);
    const std::lock_guard lock(shard.mutex);
    shard.flights.erase({table, key});
    shard.erase({table, key});
  }
  return done;
}

Status ReadThroughStore::drop(std::string_view table) {
  Mutation mutation(*this);
  mutation.begin_all();
  Status done = behind_->drop(table);
  for (const auto& shard : shards_) {
    const std::lock_guard lock(shard->mutex);
    std::erase_if(shard->flights, [&](const auto& flight) { return flight.first.table == table; });
    for (auto entry = shard->entries.begin(); entry != shard->entries.end();) {
      const Entry& one = *entry++;
      if (one.table == table) shard->erase({one.table, one.key});
    }
  }
  return done;
}

ReadThroughCounts ReadThroughStore::counts() const {
  ReadThroughCounts sum;
  for (const auto& shard : shards_) {
    const std::lock_guard lock(shard->mutex);
    const ReadThroughCounts& one = shard->counts;
    sum.hits += one.hits;
    sum.negative += one.negative;
    sum.misses += one.misses;
    sum.waits += one.waits;
    sum.stale += one.stale;
    sum.loads += one.loads;
    sum.failures += one.failures;
    sum.evictions += one.evictions;
    sum.entries += shard->entries.size();
    sum.bytes += one.bytes;
  }
  return sum;
}

}  // namespace thaw::features
