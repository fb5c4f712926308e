// Documents about a function that are no part of its versions: each is one JSON text under a kind and a qualifier.
//
// Ownership: plain values. Threads: any.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace thaw::control {

enum class SettingKind {
  reserved_concurrency,
  provisioned_concurrency,
  function_url,
  event_invoke,
  tags,
  policy,
  runtime_management,
  recursion,
};
inline constexpr std::size_t kSettingKinds = 8;

// Of one document, in bytes, and of the documents of one function.
inline constexpr std::size_t kSettingBytesMax = 64 * 1024;
inline constexpr std::size_t kSettingsMax = 4096;

struct Setting {
  SettingKind kind;
  std::string qualifier;  // empty: the function as a whole
  std::string json;
  bool operator==(const Setting&) const = default;
};

// The names under which kinds are stored.
std::string_view setting_kind_name(SettingKind kind);
std::optional<SettingKind> setting_kind(std::string_view name);

}  // namespace thaw::control
