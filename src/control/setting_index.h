// The settings in memory: what is answered without I/O.
//
// Ownership: shares immutable texts with whoever found them. Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/catalog.h"
#include "control/setting.h"

namespace thaw::control {

// Names of functions compare without regard to ASCII case, qualifiers with it.
class SettingIndex {
 public:
  // nullptr when there is none.
  std::shared_ptr<const std::string> find(std::string_view function, SettingKind kind,
                                          std::string_view qualifier) const;
  // By qualifier.
  std::vector<Setting> list(std::string_view function, SettingKind kind) const;
  std::vector<Catalog::FunctionSetting> list(SettingKind kind) const;
  std::size_t count(std::string_view function) const;
  // See Catalog::setting_changes().
  std::uint64_t changes(SettingKind kind) const { return changes_.at(static_cast<std::size_t>(kind)); }

  void put(std::string_view function, Setting setting);
  void erase(std::string_view function, SettingKind kind, std::string_view qualifier);
  // Of every kind.
  void erase_qualifier(std::string_view function, std::string_view qualifier);
  void erase(std::string_view function);

 private:
  using Key = std::pair<SettingKind, std::string>;
  using Documents = std::map<Key, std::shared_ptr<const std::string>>;

  template <class Goes>
  void erase_if(std::string_view function, Goes goes);
  // With mutex_ held for writing.
  void note_change(SettingKind kind) { ++changes_.at(static_cast<std::size_t>(kind)); }

  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, Documents> functions_;             // by folded name; guarded by mutex_
  std::array<std::atomic<std::uint64_t>, kSettingKinds> changes_{};  // by kind; written with mutex_ held
};

}  // namespace thaw::control
