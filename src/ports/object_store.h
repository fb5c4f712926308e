// Where models come from: a store of named objects that are read in ranges. Adapters (src/adapters) implement it for a
// folder, S3 and HTTPS; all pass the contract of ports/object_store_contract_test.h.
//
// Calls block their thread until they are done, their deadline passes, or they are cancelled. Retrying is the caller's:
// an adapter makes one try and says by the error's kind whether another makes sense.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::ports {

// Longer keys are refused everywhere (S3's own limit).
inline constexpr std::size_t kObjectKeyBytesMax = 1024;

struct ObjectInfo {
  std::string key;
  std::uint64_t bytes = 0;
  // Changes when the contents change. Opaque; empty where the store has none.
  std::string etag;
  // Lower-case hex, where the store vouches for it; empty where it does not.
  std::string sha256;
};

// What bounds one call. Ownership: borrows cancelled.
struct Call {
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::now() + std::chrono::minutes(5);
  // Ends the call with `unavailable` soon after it becomes true; may be null.
  const std::atomic<bool>* cancelled = nullptr;

  bool is_cancelled() const { return cancelled != nullptr && cancelled->load(std::memory_order_relaxed); }
};

struct ObjectRange {
  std::string key;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  // The ETag that the object must have; empty: any.
  std::string if_match = {};
  // The size that the object must have, where the store tells it beside a range; 0: any.
  std::uint64_t object_bytes = 0;
};

// Takes each piece of a range as it arrives, in order, without gaps; the bytes are its until it returns. An error ends
// the read with it.
using PieceSink = std::function<Status(std::span<const std::byte>)>;

struct ObjectPage {
  std::vector<ObjectInfo> objects;  // by key, ascending in bytes
  std::string next;                 // for the next page; empty: this was the last
};

struct ObjectList {
  std::string prefix;      // empty: every object
  std::string after = {};  // `next` of the page before
  std::size_t count_max = 1000;
};

struct ObjectUpload {
  std::string key;
  std::uint64_t bytes = 0;  // of the file, from its start
  // Called now and then with the bytes sent so far; may be empty.
  std::function<void(std::uint64_t)> on_progress = {};
};

// Threads: every method from any, at the same time.
// Errors, of all: not_found (no such object or bucket), forbidden (credentials), conflict (the object is not the one of
// if_match), invalid_argument (a key that cannot be), unavailable (connection or server; try again), timeout (the
// deadline; try again), too_large, unsupported (this store cannot do it), internal.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  virtual Result<ObjectInfo> head(const std::string& key, const Call& call) = 0;
  // The whole range or an error. What the sink has got before an error is right all the same, so that the caller can
  // go on behind it.
  virtual Status read(const ObjectRange& range, const PieceSink& sink, const Call& call) = 0;
  virtual Result<ObjectPage> list(const ObjectList& list, const Call& call) = 0;
  // Stored whole or not at all; replaces. The file stays the caller's.
  virtual Result<ObjectInfo> put(const ObjectUpload& upload, const UniqueFd& file, const Call& call) = 0;
  virtual Status remove(const std::string& key, const Call& call) = 0;
};

}  // namespace thaw::ports
