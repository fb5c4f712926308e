#include "control/entry_path.h"

#include <algorithm>

namespace thaw::control {
namespace {

constexpr std::size_t kPartBytesMax = 255;  // NAME_MAX of Linux.

// Length of the well-formed UTF-8 sequence at the start of text (Unicode 15, table 3-7), 0 when there is none.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto in = [](unsigned value, unsigned low, unsigned high) { return value >= low && value <= high; };
  const unsigned first = byte(0);
  if (text.empty()) return 0;
  if (first < 0x80) return 1;
  if (in(first, 0xC2, 0xDF)) return in(byte(1), 0x80, 0xBF) ? 2 : 0;
  if (in(first, 0xE0, 0xEF)) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return in(byte(1), low, high) && in(byte(2), 0x80, 0xBF) ? 3 : 0;
  }
  if (in(first, 0xF0, 0xF4)) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return in(byte(1), low, high) && in(byte(2), 0x80, 0xBF) && in(byte(3), 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; });
}

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return parts;
}

Error entry_error(std::string_view name, std::string_view problem) {
  return invalid_argument("the zip's entry \"" + shown_name(name) + "\" " + std::string(problem));
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string shown_name(std::string_view name) {
  constexpr std::size_t kShownBytesMax = 120;
  std::string safe;
  std::string_view rest = name;
  while (!rest.empty() && safe.size() < kShownBytesMax) {
    const std::size_t length = std::max<std::size_t>(1, sequence_length(rest));
    const bool plain = sequence_length(rest) > 0 && !has_control_character(rest.substr(0, length));
    safe += plain ? rest.substr(0, length) : std::string_view("?");
    rest.remove_prefix(length);
  }
  if (!rest.empty()) safe += "...";
  return safe;
}

Result<std::vector<std::string>> entry_parts(std::string_view name, const IntakeLimits& limits) {
  if (name.empty()) return invalid_argument("the zip has an entry without a name");
  if (!is_utf8(name)) return entry_error(name, "has a name that is not UTF-8");
  if (has_control_character(name)) return entry_error(name, "has a control character in its name");
  if (name.size() > limits.path_bytes_max) {
    return entry_error(name, "has a name longer than " + std::to_string(limits.path_bytes_max) + " bytes");
  }
  if (name.front() == '/') return entry_error(name, "has an absolute name");
  std::vector<std::string> parts;
  for (const std::string_view part : split(name)) {
    if (part == ".") continue;
    if (part.empty()) return entry_error(name, "has an empty part in its name");
    if (part == "..") return entry_error(name, "leads out of the package with \"..\"");
    if (part.size() > kPartBytesMax) {
      return entry_error(name, "has a part longer than " + std::to_string(kPartBytesMax) + " bytes");
    }
    parts.emplace_back(part);
  }
  if (parts.size() > limits.depth_max) {
    return entry_error(name, "is deeper than " + std::to_string(limits.depth_max) + " folders");
  }
  return parts;
}

Status check_link_target(std::string_view target, std::size_t depth, const IntakeLimits& limits) {
  if (target.empty() || target.size() > limits.path_bytes_max || !is_utf8(target) || has_control_character(target)) {
    return invalid_argument("is a link whose target is no possible name");
  }
  if (target.front() == '/')
    return invalid_argument("is a link to an absolute name; only links within the package are possible");
  std::size_t ups = 0;
  bool went_down = false;
  for (const std::string_view part : split(target)) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      went_down = true;
    } else if (went_down || ++ups > depth) {
      return invalid_argument("is a link that may lead out of the package: \"" + shown_name(target) + "\"");
    }
  }
  return {};
}

}  // namespace thaw::control
