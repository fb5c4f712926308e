// The online half of a feature store: the latest row of each entity, read by key. Adapters (src/adapters) implement it;
// all pass the contract of ports/online_store_contract_test.h.
//
// A table is a feature view's name, a key its encoded entity, a value its encoded features: opaque bytes here. Of two
// writes of a key the one with the later event time stays; with equal event times the later created one, then the
// later written.
//
// Calls block their thread. Retrying is the caller's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::ports {

inline constexpr std::size_t kOnlineTableBytesMax = 128;
inline constexpr std::size_t kOnlineKeyBytesMax = 4096;
inline constexpr std::size_t kOnlineValueBytesMax = 5 << 20;
inline constexpr std::size_t kOnlineKeysMax = 10000;  // of one read() or write()

// All times are milliseconds since 1970, by the machine's clock of day.
struct OnlineRow {
  std::string key;
  std::string value;
  std::int64_t event_ms = 0;
  std::int64_t created_ms = 0;
  // From then on the row is not given out, and may be removed; 0: never.
  std::int64_t expires_ms = 0;
  // Of a read: older than a cache may give it out otherwise, because the store behind is away. Not stored.
  bool stale = false;
};

struct OnlineKey {
  std::string_view table;
  std::string_view key;
};

// Threads: every method from any, at the same time.
// Errors, of all: unavailable (the store cannot be reached or written now: try again; the message says why and names
// the store without its password), corrupt, invalid_argument (a table, key, value or count beyond its bound), internal.
class OnlineStore {
 public:
  virtual ~OnlineStore() = default;

  // All rows are stored, durably as far as the store is durable; on an error any number of them may be.
  virtual Status write(std::string_view table, std::span<const OnlineRow> rows) = 0;
  // One answer for each key, in their order, in as few round trips as the store can do; nothing where there is no row.
  virtual Result<std::vector<std::optional<OnlineRow>>> read(std::span<const OnlineKey> keys) = 0;
  // What read() would give where that is known without waiting for anything; else nothing. For callers that must not
  // block.
  virtual std::optional<std::vector<std::optional<OnlineRow>>> read_now(
      [[maybe_unused]] std::span<const OnlineKey> keys) {
    return std::nullopt;
  }
  // Rows in the order of their keys, behind `after` (empty: from the first); fewer than count_max only at the end.
  virtual Result<std::vector<OnlineRow>> scan(std::string_view table, std::string_view after,
                                              std::size_t count_max) = 0;
  virtual Status remove(std::string_view table, std::span<const std::string> keys) = 0;
  // The table and all of its rows.
  virtual Status drop(std::string_view table) = 0;
  // As people name it, without secrets: "embedded", "redis://127.0.0.1:6379/0".
  virtual std::string name() const = 0;
};

}  // namespace thaw::ports
