// Great memory: the long stretches of private memory that a process fills once and reads from then on, such as weights
// that an engine has rearranged for the CPU. Page by page a clone would take 0.2 s for each GB of it.
//
// So a great range lies in huge pages of the image in memory, and a clone maps it as an ordinary private file: 2 MiB a
// fault, no pager. That is exact but for one thing: what is given back would come back with its old contents. A seccomp
// filter answers such calls with errors that callers know:
//
//   madvise with MADV_DONTNEED     EINVAL, as for locked memory (madvise(2))
//   mremap                         ENOMEM; realloc(3) then copies
//   process_madvise                EPERM
//
// munmap and mmap over it work. The filter knows addresses, not mappings: whatever is mapped there later is treated so,
// too.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

#include "snapshot/address_ranges.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

inline constexpr std::uint64_t kHugePageBytes = 2ULL << 20;
inline constexpr std::uint64_t kGreatBytesMin = 64ULL << 20;
inline constexpr std::size_t kGreatRangesMax = 8;  // the largest ones; a filter that checks more takes longer

// Of an image's lazy mappings, ascending, each a multiple of kHugePageBytes. Pages of zeros may lie between those that
// the image holds.
std::vector<AddressRange> great_ranges(const Image& image);

// What clones run under where lazy memory is served: madvise with MADV_FREE answers EINVAL everywhere, and what is said
// above holds in great ranges.
std::vector<sock_filter> memory_filter(const std::vector<AddressRange>& great);

}  // namespace thaw::snapshot
