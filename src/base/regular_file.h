// Files of other people, opened to be read.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw {

// Errors: not_found; invalid_argument when it is a folder, a pipe or a device, or this process may not read it: the
// message names the file and the user that the process runs as.
Result<UniqueFd> open_regular_file(const std::string& path);

}  // namespace thaw
