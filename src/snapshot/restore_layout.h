// Where things of a process lie in its address space: the kernel's special mappings, and what PR_SET_MM_MAP tells.
#pragma once

#include <linux/prctl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

// "[vdso]", "[vvar]" and their like.
struct SpecialPlace {
  std::string name;
  std::uint64_t start = 0;
  std::uint64_t bytes = 0;
};

// Those of the calling process.
Result<std::vector<SpecialPlace>> special_places();

// For prctl(2). auxiliary_vector: where a copy of the process's lies; executable: a descriptor.
prctl_mm_map layout_of(const Process& process, std::byte* auxiliary_vector, int executable);

}  // namespace thaw::snapshot
