// The access keys of thaw serve (key aws_credentials).
#pragma once

#include <string>

#include "base/result.h"
#include "gateway/access_keys.h"

namespace thaw::cli {

// Reads them while the daemon is root still. path empty: there are none. Errors: invalid_argument for a file that is
// not one, that others than its owner may read or write, or that holds no keys; it names the file, never what is in it.
Result<gateway::AccessKeys> load_access_keys(const std::string& path);

}  // namespace thaw::cli
