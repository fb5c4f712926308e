// An image in memory, from which clones are restored: one file (a memfd) that all of them map.
//
//   offset = address     pages of lazy mappings and of program data: a clone maps the file there, privately, at the
//                        very same offset, and shares each page until it writes to it
//   kImageBase + offset  the rest of the image file as it lies on disk: header, pages that are copied, metadata
//
// Every chunk is compared with its checksum on its way into memory, once. The file is sparse: it holds each page once.
//
// Great ranges (great_ranges.h) are in huge pages, where the folder for images in memory has them.
//
// An image whose pages are ordered (image_order.h) is ready when its first part is there; the rest follows on a thread
// of its own. A clone that touches a page before it is there waits for it (pager.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

inline constexpr std::uint64_t kImageBase = 1ULL << 47;  // beyond every address of user space

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

class ImageLoading;

// Ownership: the loading ends, unfinished if need be, when this is dropped.
struct ImageMemory {
  UniqueFd pages;
  UniqueFd working_set;     // working_set.h
  std::uint64_t bytes = 0;  // of memory that it takes
  std::shared_ptr<ImageLoading> loading;

  // Waits until all of it is there. Errors: corrupt with what differs.
  Status whole() const;
};

struct LoadOptions {
  // What has begun without the rest must end when the rest turns out to be damaged. Called on a thread of the loading.
  std::function<void(const Error&)> rest_failed{};
  // On a tmpfs with huge=advise. Empty, or where no file can be made in it: a memfd, with small pages.
  std::string folder{};
};

// Errors: corrupt with what differs; unsupported for another format; unavailable when there is no memory.
Result<ImageMemory> load_image(const UniqueFd& file, const LoadOptions& options = {});

// Whether a mapping of this name (in /proc/PID/maps) is of an image in memory.
bool is_image_memory(const std::string& name);

// Whether all pages of an image in memory are there, as its loading has noted in it.
bool is_whole(const UniqueFd& pages);

}  // namespace thaw::snapshot
