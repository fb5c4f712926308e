// Times as data has them: ISO 8601, and SQL's way to write it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace thaw {

// Microseconds since 1970 (UTC) of one of
//
//   2026-01-31                             the day's first moment
//   2026-01-31T12:00   2026-01-31 12:00:00.123456789
//
// with an optional zone behind a time of day: Z, UTC, +01, +0100, +01:00. Without one it is UTC. Digits behind the
// microseconds are cut off. Nothing when the text is none of these, the date does not exist, or the year is not
// 0001 to 9999. A leap second (:60) is the first moment of the next minute.
std::optional<std::int64_t> parse_iso_time_us(std::string_view text);

// 2026-01-31T12:00:00Z, with as many of three or six digits of a fraction as are needed.
std::string format_iso_time_us(std::int64_t time_us);

}  // namespace thaw
