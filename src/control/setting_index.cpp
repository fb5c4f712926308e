#include "control/setting_index.h"

#include <array>
#include <mutex>

#include "control/function_table.h"

namespace thaw::control {
namespace {

constexpr std::array kKindNames{
    std::pair{SettingKind::reserved_concurrency, std::string_view("reserved_concurrency")},
    std::pair{SettingKind::provisioned_concurrency, std::string_view("provisioned_concurrency")},
    std::pair{SettingKind::function_url, std::string_view("function_url")},
    std::pair{SettingKind::event_invoke, std::string_view("event_invoke")},
    std::pair{SettingKind::tags, std::string_view("tags")},
    std::pair{SettingKind::policy, std::string_view("policy")},
    std::pair{SettingKind::runtime_management, std::string_view("runtime_management")},
    std::pair{SettingKind::recursion, std::string_view("recursion")},
};

}  // namespace

std::string_view setting_kind_name(SettingKind kind) {
  for (const auto& [value, name] : kKindNames) {
    if (value == kind) return name;
  }
  return {};
}

std::optional<SettingKind> setting_kind(std::string_view name) {
  for (const auto& [value, known] : kKindNames) {
    if (known == name) return value;
  }
  return std::nullopt;
}

std::shared_ptr<const std::string> SettingIndex::find(std::string_view function, SettingKind kind,
                                                      std::string_view qualifier) const {
  const std::shared_lock lock(mutex_);
  const auto documents = functions_.find(folded_name(function));
  if (documents == functions_.end()) return nullptr;
  const auto found = documents->second.find(Key{kind, qualifier});
  return found == documents->second.end() ? nullptr : found->second;
}

std::vector<Setting> SettingIndex::list(std::string_view function, SettingKind kind) const {
  const std::shared_lock lock(mutex_);
  std::vector<Setting> found;
  const auto documents = functions_.find(folded_name(function));
  if (documents == functions_.end()) return found;
  for (auto at = documents->second.lower_bound(Key{kind, {}}); at != documents->second.end() && at->first.first == kind;
       ++at) {
    found.push_back({.kind = kind, .qualifier = at->first.second, .json = *at->second});
  }
  return found;
}

std::size_t SettingIndex::count(std::string_view function) const {
  const std::shared_lock lock(mutex_);
  const auto documents = functions_.find(folded_name(function));
  return documents == functions_.end() ? 0 : documents->second.size();
}

void SettingIndex::put(std::string_view function, Setting setting) {
  auto text = std::make_shared<const std::string>(std::move(setting.json));
  const std::unique_lock lock(mutex_);
  functions_[folded_name(function)][Key{setting.kind, std::move(setting.qualifier)}] = std::move(text);
}

void SettingIndex::erase(std::string_view function, SettingKind kind, std::string_view qualifier) {
  const std::unique_lock lock(mutex_);
  const auto documents = functions_.find(folded_name(function));
  if (documents == functions_.end()) return;
  documents->second.erase(Key{kind, qualifier});
  if (documents->second.empty()) functions_.erase(documents);
}

void SettingIndex::erase_qualifier(std::string_view function, std::string_view qualifier) {
  const std::unique_lock lock(mutex_);
  const auto documents = functions_.find(folded_name(function));
  if (documents == functions_.end()) return;
  std::erase_if(documents->second, [&](const auto& one) { return one.first.second == qualifier; });
  if (documents->second.empty()) functions_.erase(documents);
}

void SettingIndex::erase(std::string_view function) {
  const std::unique_lock lock(mutex_);
  functions_.erase(folded_name(function));
}

}  // namespace thaw::control
