// The options of `thaw batch`.
#pragma once

#include <CLI/CLI.hpp>

#include "commands.h"

namespace thaw::cli {

// The options live as long as the parser that points at them.
void add_batch(CLI::App& app, BatchOptions& options);

}  // namespace thaw::cli
