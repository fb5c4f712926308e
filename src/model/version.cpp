#include "model/version.h"

#include <algorithm>
#include <charconv>

#include "model/function.h"

namespace thaw::model {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_alias_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

}  // namespace

std::optional<std::uint64_t> version_number(std::string_view text) {
  if (text.empty() || text.size() > kVersionDigitsMax || text.front() == '0') return std::nullopt;
  if (!std::all_of(text.begin(), text.end(), is_digit)) return std::nullopt;
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

Status check_description(std::string_view description) {
  if (description.size() > kDescriptionBytesMax) {
    return invalid_argument("Description is " + std::to_string(description.size()) + " bytes long; at most " +
                            std::to_string(kDescriptionBytesMax) + " are possible");
  }
  // Databases end a text there.
  if (description.find('\0') != std::string_view::npos) return invalid_argument("Description holds a NUL character");
  return {};
}

Status check_alias_name(std::string_view name) {
  if (name.empty()) return invalid_argument("Name is missing: an alias needs one");
  if (name.size() > kAliasNameBytesMax) {
    return invalid_argument("Name is " + std::to_string(name.size()) + " characters long; at most " +
                            std::to_string(kAliasNameBytesMax) + " are possible");
  }
  if (!std::all_of(name.begin(), name.end(), is_alias_character) || std::all_of(name.begin(), name.end(), is_digit)) {
    return invalid_argument("Name is not possible: an alias has letters, digits, - and _, and not digits alone");
  }
  return {};
}

Status check_alias(const Alias& alias) {
  RETURN_IF_ERROR(check_alias_name(alias.name));
  RETURN_IF_ERROR(check_description(alias.description));
  if (alias.function_version != kLatestVersion && !version_number(alias.function_version)) {
    return invalid_argument("FunctionVersion must be the number of a version, or $LATEST");
  }
  if (!alias.additional) return {};
  const WeightedVersion& additional = *alias.additional;
  if (!version_number(additional.version)) {
    return invalid_argument("AdditionalVersionWeights must name the number of a version");
  }
  if (!version_number(alias.function_version)) {
    return invalid_argument("FunctionVersion must be the number of a version when AdditionalVersionWeights is given");
  }
  if (additional.version == alias.function_version) {
    return invalid_argument("AdditionalVersionWeights must name another version than FunctionVersion");
  }
  if (!(additional.weight >= 0 && additional.weight <= 1)) {
    return invalid_argument("AdditionalVersionWeights must be weights from 0 to 1");
  }
  return {};
}

}  // namespace thaw::model
