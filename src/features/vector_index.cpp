#include "features/vector_index.h"

// Its hand-written prefetches read one link beyond the end of a full list.
#define NO_MANUAL_VECTORIZATION
#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <mutex>

namespace thaw::features {
namespace {

constexpr std::size_t kLinks = 16;
constexpr std::size_t kBuildEffort = 200;
constexpr std::size_t kSeed = 1;
constexpr std::size_t kFirstCapacity = 1024;
constexpr std::size_t kPlacedAtOnce = 16;   // while one holds the lock
constexpr std::size_t kEntryBytes = 600;    // what an entry needs besides its bytes, its links in the graph included
constexpr std::size_t kFilteredFactor = 4;  // candidates for each neighbour wanted

double dot(const float* a, const float* b, std::size_t count) {
  std::array<double, 4> sums{};
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) sums[lane] += double{a[i + lane]} * double{b[i + lane]};
  }
  for (; i < count; ++i) sums[0] += double{a[i]} * double{b[i]};
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

double l2(const float* a, const float* b, std::size_t count) {
  std::array<double, 4> sums{};
  const auto add = [&](std::size_t lane, std::size_t i) {
    const double gap = double{a[i]} - double{b[i]};
    sums[lane] += gap * gap;
  };
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) add(lane, i + lane);
  }
  for (; i < count; ++i) add(0, i);
  return std::sqrt((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

double length_of(std::span<const float> vector) { return std::sqrt(dot(vector.data(), vector.data(), vector.size())); }

std::vector<float> unit(std::span<const float> vector, double length) {
  std::vector<float> result(vector.begin(), vector.end());
  if (length == 0) return result;
  for (float& number : result) number = static_cast<float>(double{number} / length);
  return result;
}

double score_of(VectorMetric metric, double distance) {
  switch (metric) {
    case VectorMetric::cosine:
      return 1 - distance;
    case VectorMetric::l2:
      return 1 / (1 + distance);
    case VectorMetric::inner_product:
      break;
  }
  return -distance;
}

std::unique_ptr<hnswlib::SpaceInterface<float>> space_of(const VectorSettings& settings) {
  if (settings.metric == VectorMetric::l2) return std::make_unique<hnswlib::L2Space>(settings.dimensions);
  return std::make_unique<hnswlib::InnerProductSpace>(settings.dimensions);
}

}  // namespace

struct VectorIndex::Entry {
  const std::string* key = nullptr;
  IndexedRow row;
  double length = 0;
  bool in_graph = false;
};

struct VectorIndex::Graph {
  explicit Graph(const VectorSettings& settings)
      : space(space_of(settings)), links(space.get(), kFirstCapacity, kLinks, kBuildEffort, kSeed) {}

  std::unique_ptr<hnswlib::SpaceInterface<float>> space;
  hnswlib::HierarchicalNSW<float> links;
};

VectorIndex::VectorIndex(VectorSettings settings, std::atomic<std::size_t>& bytes)
    : settings_(std::move(settings)), bytes_(bytes) {}

VectorIndex::~VectorIndex() { bytes_ -= own_bytes_; }

Status VectorIndex::put(std::string_view key, IndexedRow row) {
  const std::unique_lock lock(mutex_);
  auto at = at_.find(std::string(key));
  const bool added = at == at_.end();
  // Vectors are counted twice, because the graph has its own.
  std::size_t before = 0;
  std::size_t after = row.value.size();
  if (added) {
    if (entries_.size() == kIndexedRowsMax)
      return Error{ErrorKind::too_large, "the view has more than " + std::to_string(kIndexedRowsMax) +
                                             " rows, which is the limit of vector search"};
    after += key.size() + 2 * sizeof(float) * settings_.dimensions + kEntryBytes;
  } else {
    const IndexedRow& there = entries_[at->second].row;
    if (std::pair(row.event_ms, row.created_ms) < std::pair(there.event_ms, there.created_ms)) return {};
    before = there.value.size();
  }
  if (after > before && bytes_.load() + (after - before) > kIndexedBytesMax)
    return Error{ErrorKind::too_large, "the vectors of all views with their rows need more than " +
                                           std::to_string(kIndexedBytesMax >> 20) +
                                           " MB, which is the limit of vector search"};
  bytes_ += after - before;
  own_bytes_ += after - before;
  if (added) {
    at = at_.emplace(std::string(key), static_cast<std::uint32_t>(entries_.size())).first;
    entries_.emplace_back().key = &at->first;
  }
  Entry& entry = entries_[at->second];
  vectors_ += row.vector.empty() ? 0 : 1;
  vectors_ -= entry.row.vector.empty() ? 0 : 1;
  entry.row = std::move(row);
  entry.length = length_of(entry.row.vector);
  if (!graph_) return {};
  if (at->second < placed_) return place(at->second);
  if (at->second != placed_) return {};  // whoever completes the graph comes to it
  RETURN_IF_ERROR(place(at->second));
  ++placed_;
  return {};
}

// The caller holds the lock alone.
Status VectorIndex::place(std::uint32_t at) {
  Entry& entry = entries_[at];
  auto& links = graph_->links;
  try {
    if (entry.row.vector.empty()) {
      if (entry.in_graph) links.markDelete(at);
      entry.in_graph = false;  // hnswlib takes it back when its label is added again
      return {};
    }
    if (links.cur_element_count == links.max_elements_) links.resizeIndex(2 * links.max_elements_);
    if (settings_.metric == VectorMetric::cosine) {
      links.addPoint(unit(entry.row.vector, entry.length).data(), at);
    } else {
      links.addPoint(entry.row.vector.data(), at);
    }
    entry.in_graph = true;
  } catch (const std::exception& error) {
    return Error{ErrorKind::internal, std::string("the graph of vectors: ") + error.what()};
  }
  return {};
}

Status VectorIndex::complete_graph() {
  for (;;) {
    const std::unique_lock lock(mutex_);
    if (!graph_) graph_ = std::make_unique<Graph>(settings_);
    for (std::size_t i = 0; i < kPlacedAtOnce; ++i) {
      if (placed_ == entries_.size()) return {};
      RETURN_IF_ERROR(place(static_cast<std::uint32_t>(placed_)));
      ++placed_;
    }
  }
}

double VectorIndex::distance(std::span<const float> query, double length, const Entry& entry) const {
  const float* const vector = entry.row.vector.data();
  switch (settings_.metric) {
    case VectorMetric::l2:
      return l2(query.data(), vector, query.size());
    case VectorMetric::inner_product:
      return -dot(query.data(), vector, query.size());
    case VectorMetric::cosine:
      break;
  }
  if (length == 0 || entry.length == 0) return 1;
  return 1 - std::clamp(dot(query.data(), vector, query.size()) / (length * entry.length), -1.0, 1.0);
}

// The caller holds the lock.
VectorIndex::Ranked VectorIndex::compare_all(
    const VectorQuery& query, const std::function<bool(std::string_view, const IndexedRow&)>& accepts) const {
  const double length = length_of(query.vector);
  Ranked nearest;  // a heap, the farthest first
  for (std::uint32_t at = 0; at < entries_.size(); ++at) {
    const Entry& entry = entries_[at];
    if (entry.row.vector.empty()) continue;
    const std::pair ranked(distance(query.vector, length, entry), at);
    const bool full = nearest.size() == query.top_k;
    if (full && !(ranked < nearest.front())) continue;
    if (!accepts(*entry.key, entry.row)) continue;
    if (full) {
      std::pop_heap(nearest.begin(), nearest.end());
      nearest.pop_back();
    }
    nearest.push_back(ranked);
    std::push_heap(nearest.begin(), nearest.end());
  }
  return nearest;
}

Result<Neighbours> VectorIndex::search(const VectorQuery& query,
                                       const std::function<bool(std::string_view, const IndexedRow&)>& accepts) {
  std::shared_lock lock(mutex_);
  const bool approximate = query.approximate.value_or(vectors_ >= kExactSearchBelow);
  Ranked nearest;
  Neighbours found;
  if (approximate) {
    lock.unlock();
    RETURN_IF_ERROR(complete_graph());
    lock.lock();
    const double length = length_of(query.vector);
    const std::vector<float> wanted =
        settings_.metric == VectorMetric::cosine ? unit(query.vector, length) : query.vector;
    // As many are asked for as candidates are to be looked at: what is filtered out is made up for by others.
    const std::size_t candidates = std::max(query.effort, kFilteredFactor * query.top_k);
    try {
      auto queue = graph_->links.searchKnn(wanted.data(), candidates);
      for (; !queue.empty(); queue.pop()) {
        const auto at = static_cast<std::uint32_t>(queue.top().second);
        const Entry& entry = entries_[at];
        if (accepts(*entry.key, entry.row)) nearest.emplace_back(distance(query.vector, length, entry), at);
      }
    } catch (const std::exception& error) {
      return Error{ErrorKind::internal, std::string("the graph of vectors: ") + error.what()};
    }
    found.exact = nearest.size() < query.top_k;
  }
  if (found.exact) nearest = compare_all(query, accepts);
  std::sort(nearest.begin(), nearest.end(), [&](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : *entries_[a.second].key < *entries_[b.second].key;
  });
  if (nearest.size() > query.top_k) nearest.resize(query.top_k);
  for (const auto& [distance, at] : nearest) {
    found.nearest.push_back({*entries_[at].key, entries_[at].row, distance, score_of(settings_.metric, distance)});
  }
  return found;
}

std::optional<IndexedRow> VectorIndex::find(std::string_view key) const {
  const std::shared_lock lock(mutex_);
  const auto at = at_.find(std::string(key));
  if (at == at_.end()) return std::nullopt;
  return entries_[at->second].row;
}

}  // namespace thaw::features
