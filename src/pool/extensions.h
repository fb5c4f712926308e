// What an event function's layers bring: external extensions, with what starts them, and custom runtimes ("Lambda
// extensions", "Building a custom runtime for AWS Lambda", AWS Lambda Developer Guide).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "sandbox/sandbox.h"

namespace thaw::pool {

// The names of the files in `extensions` of the folder that stands at /opt, sorted; none where it is no folder or there
// is no such one. Errors: function_failed with more than invoke::kExtensionsMax.
Result<std::vector<std::string>> external_extensions(const UniqueFd& layers);
// Where the package has no bootstrap the layers may have one.
inline constexpr char kBootstrap[] = "/var/task/bootstrap";
void find_bootstrap(sandbox::EnvironmentSpec& spec, const UniqueFd& package, const UniqueFd& layers);
// Has apps/thaw-extensions start them, and then the function's own command.
void start_with_extensions(sandbox::EnvironmentSpec& spec, const std::vector<std::string>& names);

}  // namespace thaw::pool
