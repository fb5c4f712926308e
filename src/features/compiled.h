// The definitions, and what is worked out of them once. Internal to src/features.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "features/feature_store.h"

namespace thaw::features {

struct FeatureStore::Compiled {
  struct View {
    const FeatureView* view = nullptr;
    std::vector<FeatureSlot> slots;                              // of all features
    std::unordered_map<std::string_view, FeatureSlot> features;  // by name
  };

  explicit Compiled(Definitions all) : definitions(std::move(all)) {
    for (const auto& [name, view] : definitions.views) {
      View& compiled = views[name];
      compiled.view = &view;
      compiled.slots = feature_slots(view.features);
      for (const FeatureSlot& slot : compiled.slots) {
        compiled.features[view.features[slot.at].name] = slot;
      }
      for (const EntityKey& entity : view.entities) entity_names.insert(entity.name);
    }
  }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  const Definitions definitions;
  std::map<std::string, View, std::less<>> views;
  std::set<std::string, std::less<>> entity_names;  // of all views
};

}  // namespace thaw::features
