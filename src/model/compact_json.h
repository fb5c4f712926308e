// JSON text on one line.
#pragma once

#include <string>
#include <string_view>

namespace thaw::model {

// Without the white space between its parts; numbers and strings stay as they were written, digit for digit. The text
// must be valid JSON.
std::string compact_json(std::string_view text);

}  // namespace thaw::model
