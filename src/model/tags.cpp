#include "model/tags.h"

#include <algorithm>
#include <boost/json/parse.hpp>

namespace thaw::model {
namespace {

namespace json = boost::json;

// Of UTF-8, which the parser has seen to.
std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// Letters, digits and spaces of any language, and _ . : / = + - @.
bool is_tag_text(std::string_view text) {
  constexpr std::string_view kMarks = " _.:/=+-@";
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return static_cast<unsigned char>(c) >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || kMarks.find(c) != std::string_view::npos;
  });
}

bool is_reserved(std::string_view key) {
  constexpr std::string_view kReserved = "aws:";
  return key.size() >= kReserved.size() &&
         std::equal(kReserved.begin(), kReserved.end(), key.begin(), [](char a, char b) { return a == (b | 0x20); });
}

Status check_tag_value(std::string_view value) {
  if (characters(value) > kTagValueCharactersMax) {
    return invalid_argument("a tag's value has " + std::to_string(characters(value)) + " characters; at most " +
                            std::to_string(kTagValueCharactersMax) + " are possible");
  }
  if (!is_tag_text(value))
    return invalid_argument("a tag's value may have letters, digits, spaces and _ . : / = + - @");
  return {};
}

}  // namespace

Status check_tag_key(std::string_view key) {
  const std::size_t length = characters(key);
  if (length < 1 || length > kTagKeyCharactersMax) {
    return invalid_argument("a tag's key has " + std::to_string(length) + " characters: it must have 1 to " +
                            std::to_string(kTagKeyCharactersMax));
  }
  if (!is_tag_text(key)) return invalid_argument("a tag's key may have letters, digits, spaces and _ . : / = + - @");
  if (is_reserved(key)) return invalid_argument("a tag's key may not begin with aws:, which is reserved");
  return {};
}

Status add_tags(const json::object& tags, Tags& all) {
  for (const auto& [key, value] : tags) {
    RETURN_IF_ERROR(check_tag_key(key));
    if (!value.is_string()) return invalid_argument("Tags must be strings");
    RETURN_IF_ERROR(check_tag_value(value.get_string()));
    all.insert_or_assign(std::string(key), std::string(value.get_string()));
  }
  if (all.size() <= kTagsMax) return {};
  return invalid_argument("the function would have " + std::to_string(all.size()) + " tags; at most " +
                          std::to_string(kTagsMax) + " are possible");
}

json::object to_json(const Tags& tags) {
  json::object object;
  for (const auto& [key, value] : tags) object[key] = value;
  return object;
}

Result<Tags> tags_from_json(std::string_view text) {
  json::error_code code;
  const json::value parsed = json::parse(text, code);
  Tags tags;
  Status read = code || !parsed.is_object() ? Status(invalid_argument("they are no JSON object"))
                                            : add_tags(parsed.get_object(), tags);
  if (!read.ok()) return Error{ErrorKind::corrupt, "stored tags are damaged: " + read.error().message};
  return tags;
}

}  // namespace thaw::model
