// Names within a function: the numbers of published versions, and aliases, which name a version or share requests out
// between two. Limits and rules are AWS Lambda's ("CreateAlias", "PublishVersion", AWS Lambda API Reference) unless
// said otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::model {

inline constexpr std::size_t kAliasNameBytesMax = 128;
inline constexpr std::size_t kDescriptionBytesMax = 256;
inline constexpr std::size_t kVersionDigitsMax = 18;  // fits 64 bits, signed
// Ours: Lambda bounds the bytes of all code instead.
inline constexpr std::size_t kVersionsMax = 1000;
inline constexpr std::size_t kAliasesMax = 1000;

// A version or an alias of a function, by its name. The qualifier is "$LATEST" (or empty), a number, or an alias's
// name.
struct QualifiedName {
  std::string_view function;
  std::string_view qualifier;
};

struct WeightedVersion {
  std::string version;
  double weight = 0;  // of the requests, 0 to 1; the alias's own version gets the rest

  bool operator==(const WeightedVersion&) const = default;
};

struct Alias {
  // [A-Za-z0-9-_]+ and not digits alone; case counts.
  std::string name;
  std::string function_version;  // a number, or "$LATEST"
  std::string description;
  std::optional<WeightedVersion> additional;
  // New with every change.
  std::string revision_id;

  // Whether requests may go to the version.
  bool names(std::string_view version) const {
    return function_version == version || (additional && additional->version == version);
  }
  bool operator==(const Alias&) const = default;
};

// "12" as 12. Nothing for what is no version's number: leading zeros, signs, other names.
std::optional<std::uint64_t> version_number(std::string_view text);

// Errors: invalid_argument, naming the field as Lambda's API does.
Status check_description(std::string_view description);
Status check_alias_name(std::string_view name);
// All but whether the versions exist.
Status check_alias(const Alias& alias);

}  // namespace thaw::model
