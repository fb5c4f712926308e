// The file-like objects of a held process whose contents belong to its snapshot: memfds, shared anonymous memory, files
// that have no name any more, and the files of its private folders.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "snapshot/freeze_pages.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

// Ownership: borrows the image, whose objects it makes. Threads: one at a time.
class Objects {
 public:
  explicit Objects(Image& image) : image_(image) {}

  // What a file is to the snapshot, by its link in /proc (" (deleted)" and all) and its status; nothing when it is an
  // ordinary file with a name. Errors: unsupported, with the reason.
  static Result<std::optional<ObjectKind>> kind_of(const std::string& link, const struct stat& status);

  // The number of the object in image.objects, which is made when it is not there yet. source: a path at which it can
  // be read while the process is held. Errors: unsupported, with the reason.
  Result<std::uint32_t> take(ObjectKind kind, const std::string& link, const std::string& source);

  std::uint32_t seals_of(std::uint32_t object) const { return image_.objects[object].seals; }

  // The contents of all; the image's runs of pages are those of the image file when copy() is done.
  void add_to(PageCopier& copier);

 private:
  Status find_data(const std::string& source, Object& object);

  Image& image_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> known_;  // by device and inode
  std::vector<std::string> sources_;                                        // beside image.objects
  std::uint64_t data_bytes_ = 0;
};

}  // namespace thaw::snapshot
