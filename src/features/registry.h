// The definitions of a feature store in the data folder: DATA/features/registry.json (docs/formats/features.md).
#pragma once

#include <string>

#include "base/result.h"
#include "features/definitions.h"

namespace thaw::features {

// None where there is no file. Errors: corrupt names the file and what is wrong with it.
Result<Definitions> load_registry(const std::string& path);
// The file is replaced whole or not at all, and is on the disk then. Errors: too_large; those of the system.
Status save_registry(const std::string& path, const Definitions& definitions);

}  // namespace thaw::features
