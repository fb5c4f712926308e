// The command line: which commands and options there are, and which function does each.
#pragma once

#include <functional>

#include "config.h"

namespace thaw::cli {

// serve runs the daemon. The result is the process's exit status: 0 done, 1 an error (said on standard error), 2 wrong
// usage, 130 interrupted.
int run_command_line(int argc, char** argv, const std::function<int(const ServeConfig&)>& serve);

}  // namespace thaw::cli
