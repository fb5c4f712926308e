// The order of pages in an image file. A freeze writes them as their addresses ascend. Once it is known what clones
// touch first, a copy is written in which a restore finds at the beginning all that it waits for:
//
//   what every restore copies or maps, whatever the clone does: changed pages of files, contents of memfds and files,
//   great ranges
//   the working set, in the order of use
//   everything else
//
// Image::hot_end is where the second part ends.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/working_set.h"

namespace thaw::snapshot {

// to: a new, empty file, writable. Errors: those of read_image(); unavailable when the disk is full.
Status order_image(const UniqueFd& from, const WorkingSet& set, const UniqueFd& to);

}  // namespace thaw::snapshot
