// Small text work that several commands share.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace thaw::cli {

// Edits (insert, delete, replace, swap of neighbours) from one to the other, ASCII case ignored; inputs beyond 64 bytes
// are cut there, which bounds the work.
std::size_t edit_distance(std::string_view a, std::string_view b);
// The candidates that somebody may have meant, nearest first, at most count_max.
std::vector<std::string> nearest(std::string_view word, std::span<const std::string> candidates, std::size_t count_max);
// "; did you mean a, b or c?" or "" when nothing is near.
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

// Everything but unreserved characters (RFC 3986) becomes %XX.
std::string percent_encode(std::string_view text);
// Like percent_encode, with '/' kept; '%XX' that is there already stays.
std::string percent_encode_path(std::string_view text);

// "1.5 MB", in powers of 1000 as disks and networks are counted.
std::string human_bytes(std::uint64_t bytes);
// "3 s", "4 min", "2 h", "5 days".
std::string human_seconds(std::uint64_t seconds);

// A TOML basic string, quoted and escaped.
std::string toml_quote(std::string_view text);
// A word for a POSIX shell: quoted when it needs to be.
std::string shell_quote(std::string_view text);

// Text from elsewhere (a function, a server, a file name), made harmless on a terminal: control characters but newline
// and tab become '?'.
std::string printable(std::string_view text);

// Terminal cells that UTF-8 text takes, counting each code point as one.
std::size_t display_width(std::string_view text);

// A whole decimal number, nothing before or after it.
std::optional<std::uint64_t> parse_count(std::string_view text);

bool is_valid_utf8(std::string_view text);

}  // namespace thaw::cli
