// What a deploy asks of the daemon beside the package: the name, and the settings laid over the manifest. Checked here
// with the daemon's own rules, so that a mistake is known before the upload.
#pragma once

#include <string>

#include "base/result.h"
#include "commands.h"
#include "package.h"

namespace thaw::cli {

struct DeployRequest {
  std::string name;
  std::string overrides;  // TOML text; may be empty
  // Where the daemon fetches the model from, and what it must be; empty when it is part of the package, or there is
  // none.
  std::string model_address;
  std::string model_sha256;
};

// Errors: invalid_argument and too_large, naming the option or the manifest's key.
Result<DeployRequest> check_deploy(const PackagePlan& plan, const DeployOptions& options);

// The settings of the options as TOML text of the manifest's keys.
Result<std::string> overrides_of(const DeployOptions& options);

}  // namespace thaw::cli
