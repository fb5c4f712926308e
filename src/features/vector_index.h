// The vectors of one feature view in memory, and the nearest of them to a query.
//
// Exact search compares the query with every vector. Approximate search walks a graph (HNSW: 16 links a vector, 200
// candidates while building), which the first such search makes; where a filter leaves it too few, the search is exact.
// Distances are worked out in the same way for both:
//
//   metric          distance                      score
//   cosine          1 - q·v / (|q| |v|)           q·v / (|q| |v|); 0 where a vector has no length
//   l2              |q - v|                       1 / (1 + distance)
//   inner_product   -q·v                          q·v
//
// The least distance is the nearest.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "features/definitions.h"

namespace thaw::features {

inline constexpr std::size_t kIndexedRowsMax = 1'000'000;    // of one view
inline constexpr std::size_t kIndexedBytesMax = 1ULL << 30;  // of all views together, the graphs included
inline constexpr std::size_t kExactSearchBelow = 10'000;     // vectors, where the caller does not say
inline constexpr std::size_t kNeighboursMax = 1000;
inline constexpr std::size_t kSearchEffortDefault = 200;
inline constexpr std::size_t kSearchEffortMax = 10'000;

// A row as the index keeps it.
struct IndexedRow {
  std::string value;  // of row_codec.h, the vector in it null
  std::int64_t event_ms = 0;
  std::int64_t created_ms = 0;
  std::int64_t expires_ms = 0;  // 0: never
  std::vector<float> vector;    // finite numbers; empty: the row has none
};

struct VectorQuery {
  std::vector<float> vector;  // of the index's dimensions, finite numbers
  std::size_t top_k = 10;     // 1 to kNeighboursMax
  std::optional<bool> approximate;
  std::size_t effort = kSearchEffortDefault;  // candidates of an approximate search; at least top_k are taken
};

struct Neighbour {
  std::string key;
  IndexedRow row;
  double distance = 0;
  double score = 0;
};

struct Neighbours {
  std::vector<Neighbour> nearest;  // first
  bool exact = true;
};

// Ownership: borrows the count of bytes that all indexes share. Threads: any; a search holds up writes, and the making
// of the graph lets both in between.
class VectorIndex {
 public:
  VectorIndex(VectorSettings settings, std::atomic<std::size_t>& bytes);
  ~VectorIndex();

  // Of two rows of a key the one with the later event stays, then the later created, then the later put. Errors:
  // too_large.
  Status put(std::string_view key, IndexedRow row);
  // accepts: which rows may be found; it must not call the index. Errors: internal.
  Result<Neighbours> search(const VectorQuery& query,
                            const std::function<bool(std::string_view, const IndexedRow&)>& accepts);
  std::optional<IndexedRow> find(std::string_view key) const;

 private:
  struct Entry;
  struct Graph;
  using Ranked = std::vector<std::pair<double, std::uint32_t>>;
  double distance(std::span<const float> query, double length, const Entry& entry) const;
  Status place(std::uint32_t at);
  Status complete_graph();
  Ranked compare_all(const VectorQuery& query,
                     const std::function<bool(std::string_view, const IndexedRow&)>& accepts) const;

  const VectorSettings settings_;
  std::atomic<std::size_t>& bytes_;
  std::size_t own_bytes_ = 0;
  mutable std::shared_mutex mutex_;  // guards all below
  std::unordered_map<std::string, std::uint32_t> at_;
  std::vector<Entry> entries_;
  std::size_t vectors_ = 0;
  std::unique_ptr<Graph> graph_;
  std::size_t placed_ = 0;  // entries from the first that the graph knows
};

}  // namespace thaw::features
