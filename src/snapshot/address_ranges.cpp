#include "snapshot/address_ranges.h"

#include <algorithm>
#include <limits>

namespace thaw::snapshot {

void AddressRanges::add(AddressRange range) {
  if (range.start >= range.end) return;
  auto at = ends_.upper_bound(range.start);
  if (at != ends_.begin() && std::prev(at)->second >= range.start) --at;
  while (at != ends_.end() && at->first <= range.end) {
    range.start = std::min(range.start, at->first);
    range.end = std::max(range.end, at->second);
    at = ends_.erase(at);
  }
  ends_.emplace(range.start, range.end);
}

void AddressRanges::subtract(AddressRange range) {
  if (range.start >= range.end) return;
  auto at = ends_.upper_bound(range.start);
  if (at != ends_.begin() && std::prev(at)->second > range.start) --at;
  while (at != ends_.end() && at->first < range.end) {
    const AddressRange old{at->first, at->second};
    at = ends_.erase(at);
    if (old.start < range.start) ends_.emplace(old.start, range.start);
    if (old.end > range.end) ends_.emplace(range.end, old.end);
  }
}

void AddressRanges::move(std::uint64_t from, std::uint64_t to, std::uint64_t bytes) {
  const std::vector<AddressRange> moved = within({from, from + bytes});
  subtract({from, from + bytes});
  subtract({to, to + bytes});
  for (const AddressRange& range : moved) add({range.start - from + to, range.end - from + to});
}

std::optional<AddressRange> AddressRanges::find(std::uint64_t address) const {
  auto at = ends_.upper_bound(address);
  if (at == ends_.begin() || (--at)->second <= address) return std::nullopt;
  return AddressRange{at->first, at->second};
}

std::uint64_t AddressRanges::next_start(std::uint64_t address) const {
  const auto at = ends_.upper_bound(address);
  return at == ends_.end() ? std::numeric_limits<std::uint64_t>::max() : at->first;
}

std::vector<AddressRange> AddressRanges::within(AddressRange bounds) const {
  std::vector<AddressRange> result;
  auto at = ends_.upper_bound(bounds.start);
  if (at != ends_.begin() && std::prev(at)->second > bounds.start) --at;
  for (; at != ends_.end() && at->first < bounds.end; ++at)
    result.push_back({std::max(at->first, bounds.start), std::min(at->second, bounds.end)});
  return result;
}

std::vector<AddressRange> AddressRanges::all() const { return within({0, std::numeric_limits<std::uint64_t>::max()}); }

std::vector<AddressRange> at_most(std::vector<AddressRange> ascending, std::size_t count_max) {
  if (ascending.size() <= count_max || count_max == 0) return ascending;
  std::vector<std::uint64_t> gaps;
  for (std::size_t i = 1; i < ascending.size(); ++i) gaps.push_back(ascending[i].start - ascending[i - 1].end);
  // The gaps up to this one are closed; there may be more of its size than need be.
  const auto last = gaps.begin() + static_cast<std::ptrdiff_t>(ascending.size() - count_max - 1);
  std::nth_element(gaps.begin(), last, gaps.end());
  std::vector<AddressRange> joined{ascending.front()};
  for (std::size_t i = 1; i < ascending.size(); ++i) {
    if (ascending[i].start - joined.back().end <= *last) {
      joined.back().end = ascending[i].end;
    } else {
      joined.push_back(ascending[i]);
    }
  }
  return joined;
}

}  // namespace thaw::snapshot
