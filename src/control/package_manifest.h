// What a package says of itself: its manifest, or the one that stands for a model that brings none.
//
// Threads: any. Errors: invalid_argument names what is missing.
#pragma once

#include <string>

#include "base/result.h"
#include "control/package_store.h"
#include "model/function.h"

namespace thaw::control {

Result<std::string> manifest_text(const PackageStore::Staged& staged);
// That the package holds what the function's engine needs.
Status check_engine_package(const model::FunctionConfig& config, const PackageStore::Staged& staged);

}  // namespace thaw::control
