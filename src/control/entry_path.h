// The names of a zip's entries, made safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/zip_intake.h"

namespace thaw::control {

// A name for messages: bounded, control characters and what is not UTF-8 replaced.
std::string shown_name(std::string_view name);
bool is_utf8(std::string_view text);

// The parts of an entry's name: "./a/b/" gives a, b. Empty for the folder itself.
Result<std::vector<std::string>> entry_parts(std::string_view name, const IntakeLimits& limits);

// A link is safe when its target is relative, goes up only at its start, and not above the package's folder: then it
// stays inside even when the parts it passes are safe links themselves. depth: of the folder that holds the link.
Status check_link_target(std::string_view target, std::size_t depth, const IntakeLimits& limits);

}  // namespace thaw::control
