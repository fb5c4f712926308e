// The end record of a zip: how many entries it claims, and where its central directory lies.
//
// libarchive reads the whole central directory into memory before it names the first entry; a zip of nothing but
// entries would cost several times its size. So what the end record says is bounded first.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/zip_intake.h"

namespace thaw::control {

// Errors: too_large when the zip claims more entries than the limits allow, or a central directory longer than these
// could need; invalid_argument when there is no end record.
Status check_zip_end(const UniqueFd& zip_fd, const IntakeLimits& limits);

}  // namespace thaw::control
