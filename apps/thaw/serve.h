// `thaw serve`: the daemon.
#pragma once

#include "config.h"

namespace thaw::cli {

// Runs until SIGTERM or SIGINT has drained the invocations. The result is the process's exit status.
int run_serve(const ServeConfig& config);

}  // namespace thaw::cli
