// Rows of a table on their way, on disk: what a job needs in another order than its source gives it. Adapters
// (src/adapters) implement it.
//
// A key and a value are opaque bytes. Of two rows of a key the one with the later event time is the later, with equal
// event times the later created, then the later put. Times are microseconds since 1970.
//
// Calls block their thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::ports {

struct SpoolRow {
  std::string key;
  std::int64_t event_us = 0;
  std::int64_t created_us = 0;
  std::string value;
};

enum class SpoolKeeps : std::uint8_t {
  latest,   // of each key
  history,  // all rows
};

// What was put is gone when the spool is. Threads: one at a time.
// Errors, of all: unavailable (the disk, or what the spool may have of it, is full), internal.
class RowSpool {
 public:
  virtual ~RowSpool() = default;

  virtual Status put(const SpoolRow& row) = 0;
  // The latest of the key with from_us <= event time <= until_us.
  virtual Result<std::optional<SpoolRow>> latest(std::string_view key, std::int64_t from_us, std::int64_t until_us) = 0;
  // In the order of their keys, behind `after` (nothing: from the first): count_max of them, fewer when they reach
  // bytes_max, none at the end. Of a spool that keeps the latest.
  virtual Result<std::vector<SpoolRow>> scan(const std::optional<std::string>& after, std::size_t count_max,
                                             std::size_t bytes_max) = 0;
};

using MakeRowSpool = std::function<Result<std::unique_ptr<RowSpool>>(SpoolKeeps)>;

}  // namespace thaw::ports
