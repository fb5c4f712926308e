#include "gateway/access_keys.h"

#include <optional>

namespace thaw::gateway {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

// One section's settings, and where it began.
struct Section {
  std::size_t line = 0;
  std::optional<std::string> id;
  std::optional<std::string> secret;
  std::string session_token;
};

Error bad_line(std::size_t line, const std::string& what) {
  return invalid_argument("line " + std::to_string(line) + ": " + what);
}

Status add(const Section& section, AccessKeys& keys) {
  if (!section.id && !section.secret) return {};
  if (!section.id || !section.secret)
    return bad_line(section.line,
                    "the section has no " + std::string(section.id ? "aws_secret_access_key" : "aws_access_key_id"));
  if (keys.size() == kAccessKeysMax)
    return bad_line(section.line, "there are more than " + std::to_string(kAccessKeysMax) + " keys");
  AccessKey key;
  key.secret = *section.secret;
  key.session_token = section.session_token;
  if (!keys.emplace(*section.id, std::move(key)).second)
    return bad_line(section.line, "its aws_access_key_id is that of a section before");
  return {};
}

Status take(std::string_view text, std::size_t line, Section& section) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) return bad_line(line, "it is neither [a section] nor a setting with '='");
  const std::string_view name = trimmed(text.substr(0, equals));
  const std::string_view value = trimmed(text.substr(equals + 1));
  if (!name.starts_with("aws_")) return {};
  if (section.line == 0) return bad_line(line, "a setting stands before the first [section]");
  if (value.empty() || value.size() > kAccessKeyBytesMax)
    return bad_line(line, "a value has 1 to " + std::to_string(kAccessKeyBytesMax) + " bytes");
  if (name == "aws_access_key_id") section.id = value;
  if (name == "aws_secret_access_key") section.secret = value;
  if (name == "aws_session_token") section.session_token = value;
  return {};
}

}  // namespace

Result<AccessKeys> parse_credentials(std::string_view text) {
  AccessKeys keys;
  Section section;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = text.find('\n');
    const std::string_view here = trimmed(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (here.empty() || here.front() == '#' || here.front() == ';') continue;
    if (here.front() != '[') {
      RETURN_IF_ERROR(take(here, line, section));
      continue;
    }
    if (here.back() != ']') return bad_line(line, "a section's name has no ']'");
    RETURN_IF_ERROR(add(section, keys));
    section = Section();
    section.line = line;
  }
  RETURN_IF_ERROR(add(section, keys));
  if (keys.empty()) return invalid_argument("it holds no access key");
  return keys;
}

}  // namespace thaw::gateway
