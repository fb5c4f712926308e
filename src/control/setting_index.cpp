#include "control/setting_index.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <tuple>

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
static_assert(kKindNames.size() == kSettingKinds);

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

std::vector<Catalog::FunctionSetting> SettingIndex::list(SettingKind kind) const {
  const std::shared_lock lock(mutex_);
  std::vector<Catalog::FunctionSetting> found;
  for (const auto& [function, documents] : functions_) {
    for (auto at = documents.lower_bound(Key{kind, {}}); at != documents.end() && at->first.first == kind; ++at) {
      Setting setting{.kind = kind, .qualifier = at->first.second, .json = *at->second};
      found.push_back({.function = function, .setting = std::move(setting)});
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::tie(a.function, a.setting.qualifier) < std::tie(b.function, b.setting.qualifier);
  });
  return found;
}

void SettingIndex::put(std::string_view function, Setting setting) {
  auto text = std::make_shared<const std::string>(std::move(setting.json));
  const std::unique_lock lock(mutex_);
  note_change(setting.kind);
  functions_[folded_name(function)][Key{setting.kind, std::move(setting.qualifier)}] = std::move(text);
}

void SettingIndex::erase(std::string_view function, SettingKind kind, std::string_view qualifier) {
  erase_if(function, [&](const Key& key) { return key == Key{kind, qualifier}; });
}

void SettingIndex::erase_qualifier(std::string_view function, std::string_view qualifier) {
  erase_if(function, [&](const Key& key) { return key.second == qualifier; });
}

void SettingIndex::erase(std::string_view function) {
  erase_if(function, [](const Key&) { return true; });
}

template <class Goes>
void SettingIndex::erase_if(std::string_view function, Goes goes) {
  const std::unique_lock lock(mutex_);
  const auto documents = functions_.find(folded_name(function));
  if (documents == functions_.end()) return;
  for (auto at = documents->second.begin(); at != documents->second.end();) {
    if (!goes(at->first)) {
      ++at;
      continue;
    }
    note_change(at->first.first);
    at = documents->second.erase(at);
  }
  if (documents->second.empty()) functions_.erase(documents);
}

}  // namespace thaw::control
