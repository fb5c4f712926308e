// Whether an image can be restored on this machine, as far as a look at it tells. Internal to src/pool.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::pool {

// Reads the metadata, not the pages. Errors: corrupt; unsupported for another kernel, boot, CPU or format, and for
// files of the system that were replaced since.
Status check_image(const UniqueFd& image);

}  // namespace thaw::pool
