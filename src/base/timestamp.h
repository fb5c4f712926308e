// The time of day as Lambda writes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace thaw {

// Now, in UTC: 2026-01-31T12:00:00.000+0000.
std::string timestamp_now();
// Seconds since 1970 of such a text; nothing when it is none.
std::optional<std::int64_t> unix_seconds(const std::string& timestamp);

}  // namespace thaw
