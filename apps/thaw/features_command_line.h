// The options of `thaw features`.
#pragma once

#include <CLI/CLI.hpp>

#include "features_command.h"

namespace thaw::cli {

// The options live as long as the parser that points at them.
void add_features(CLI::App& app, FeaturesOptions& options);
// Of the command that was parsed.
FeaturesAction features_action(const CLI::App& command);

}  // namespace thaw::cli
