// The time of day as Lambda writes it.
#pragma once

#include <string>

namespace thaw {

// Now, in UTC: 2026-01-31T12:00:00.000+0000.
std::string timestamp_now();

}  // namespace thaw
