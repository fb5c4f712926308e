// Objects to files in memory: by ranges side by side, each written to its place as it comes.
//
// A range that breaks off goes on behind its last byte, after a pause that doubles and varies; every range must come
// from the same state of the object (If-Match, its size). Digests are made by the fetching threads while the bytes are
// still in the processor's cache.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ports/object_store.h"

namespace thaw::store {

// Contents are digested in pieces of this size, whatever the ranges were, so that the digest tells nothing of them.
inline constexpr std::uint64_t kDigestPieceBytes = 8ULL << 20;

struct FetchLimits {
  // A multiple of kDigestPieceBytes. Amazon advises ranges of 8 to 16 MB, and a connection for each 85 to 90 MB/s
  // ("Best practices design patterns: optimizing Amazon S3 performance").
  std::uint64_t part_bytes = kDigestPieceBytes;
  unsigned connections = 16;
  unsigned failures_max = 6;          // of a range or a question, in a row without a byte between them
  unsigned failures_in_all_max = 64;  // of a range
  std::chrono::milliseconds pause_first{100};
  std::chrono::milliseconds pause_max{5000};
  std::chrono::seconds request_max{120};
};

// What others see and say while a fetch runs. Threads: any.
struct FetchState {
  std::atomic<std::uint64_t> bytes{0};  // that have arrived
  std::atomic<bool> stop{false};        // set: the fetch ends soon, with `unavailable`
};

struct FileToFetch {
  ports::ObjectInfo object;
  std::string path;    // below the folder; is_safe_path()
  std::string sha256;  // that the contents must have; empty: not known
};

// Files of mode 0444 in folders of mode 0755 below `folder`, and the digest of them all: the SHA-256, in hex, of the
// lines
//   thaw-model-1
//   PATH-LENGTH PATH BYTES PIECE-SHA256 PIECE-SHA256 …
// with the files by path. Errors: as ports::ObjectStore's, after retries; corrupt (SHA-256); too_large when the file
// system is full. What is in the folder after an error is the caller's to remove.
Result<std::string> fetch_files(ports::ObjectStore& store, const std::vector<FileToFetch>& files,
                                const UniqueFd& folder, const FetchLimits& limits, FetchState& state);

// Asks until there is an answer or an error that another try does not help against.
Result<ports::ObjectInfo> head_with_retries(ports::ObjectStore& store, const std::string& key,
                                            const FetchLimits& limits, FetchState& state);
Result<ports::ObjectPage> list_with_retries(ports::ObjectStore& store, const ports::ObjectList& list,
                                            const FetchLimits& limits, FetchState& state);

}  // namespace thaw::store
