// Which pages of an image its clones touch first, in the order in which they do. The pager maps them for a clone before
// it stops at each.
//
// It is learned from the faults of the first few clones and kept in a small file (a memfd) that the server half owns: a
// header of 16 bytes (magic, restores learned from, number of ranges, number of written ones), then ranges of two
// 64-bit addresses each, and those that clones used first by writing to them. Advice only: a reader takes what lies
// within the image, whatever the file says.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/address_ranges.h"

namespace thaw::snapshot {

inline constexpr std::size_t kWorkingSetRangesMax = 8191;
inline constexpr std::size_t kWrittenRangesMax = 8192;
inline constexpr std::uint32_t kWorkingSetLessons = 4;  // restores that it is learned from

struct WorkingSet {
  std::uint32_t lessons = 0;
  std::vector<AddressRange> ranges;   // page-aligned, in order of use; they may overlap
  std::vector<AddressRange> written;  // page-aligned, ascending
};

// An empty one for an unreadable or foreign file.
WorkingSet read_working_set(const UniqueFd& file);
// One lesson more, with what it has added, in order of use. What is too much is left out.
Status add_lesson(const UniqueFd& file, std::span<const AddressRange> touched,
                  std::span<const AddressRange> written = {});

}  // namespace thaw::snapshot
