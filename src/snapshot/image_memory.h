// An image in memory, from which clones are restored: one file (a memfd) that all of them map.
//
//   offset = address     pages of lazy mappings and of program data: a clone maps the file there, privately, at the
//   very same offset, and
//                        shares each page until it writes to it
//   kImageBase + offset  the rest of the image file as it lies on disk: header, pages that are copied, metadata
//
// Every chunk is compared with its checksum on its way into memory, once. The file is sparse: it holds each page once.
#pragma once

#include <cstdint>
#include <set>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

inline constexpr std::uint64_t kImageBase = 1ULL << 47;        // beyond every address of user space
inline constexpr const char* kImageMemoryName = "thaw-image";  // in /proc/PID/maps of a clone

// Whether clones share the pages of a mapping until they write to them; the others' pages are copied by the restore.
// Private anonymous memory is lazy, with exceptions: a stack grows, locked memory must not fault, memory that a fork
// wipes (MADV_WIPEONFORK) can only be anonymous.
bool is_lazy(const Mapping& mapping);

// The runs of pages that clones map from the image, shared until they write to them, on top of the file's mapping: in
// the data segments of the program and its libraries (files that are mapped executable, too), and long enough to be
// worth a mapping. MADV_DONTNEED there brings back what was there at the freeze, not what the file holds; no program
// does that to its own relocated data.
class ProgramData {
 public:
  explicit ProgramData(const Image& image);
  bool maps(const Mapping& mapping, const PageRun& run) const;

 private:
  std::set<std::pair<std::uint64_t, std::uint64_t>> programs_;  // device and inode
};

struct ImageMemory {
  UniqueFd pages;
  UniqueFd working_set;     // working_set.h
  std::uint64_t bytes = 0;  // of memory that it takes
};

// Reads the image file whole, on as many threads as there are CPUs (at most 8). Errors: corrupt with what differs;
// unsupported for another format; unavailable when there is no memory.
Result<ImageMemory> load_image(const UniqueFd& file);

}  // namespace thaw::snapshot
