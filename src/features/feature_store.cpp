#include "features/feature_store.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "features/compiled.h"
#include "features/entity_key.h"
#include "features/registry.h"
#include "features/value_json.h"

namespace thaw::features {
namespace {

Error no_such(std::string_view what, std::string_view name) {
  return {ErrorKind::not_found,
          "there is no " + std::string(what) + " '" + std::string(name.substr(0, model::kFeatureNameBytesMax)) + "'"};
}

bool same_keys(const FeatureView& before, const FeatureView& after) { return before.entities == after.entities; }

// The name of a feature that has another type in the other view; empty where none has.
std::string retyped(const FeatureView& before, const FeatureView& after) {
  for (const model::FeatureField& field : before.features) {
    const auto same = std::find_if(after.features.begin(), after.features.end(),
                                   [&](const model::FeatureField& other) { return other.name == field.name; });
    if (same != after.features.end() && same->type != field.type) return field.name;
  }
  return {};
}

template <class One>
void upsert(std::map<std::string, One, std::less<>>& all, const std::map<std::string, One, std::less<>>& changes,
            std::string_view what, std::vector<Applied>& applied) {
  for (const auto& [name, one] : changes) {
    const auto before = all.find(name);
    const auto kind = before == all.end()     ? Applied::Kind::created
                      : before->second == one ? Applied::Kind::unchanged
                                              : Applied::Kind::changed;
    applied.push_back({std::string(what), name, kind});
    all[name] = one;
  }
}

}  // namespace

FeatureStore::FeatureStore(ports::OnlineStore& online, std::string registry_path)
    : online_(online), registry_path_(std::move(registry_path)), indexes_(online) {}

Result<std::unique_ptr<FeatureStore>> FeatureStore::open(ports::OnlineStore& online, std::string registry_path) {
  std::unique_ptr<FeatureStore> store(new FeatureStore(online, std::move(registry_path)));
  ASSIGN_OR_RETURN(Definitions definitions, load_registry(store->registry_path_));
  store->publish(std::move(definitions));
  return store;
}

std::shared_ptr<const FeatureStore::Compiled> FeatureStore::compiled() const {
  const std::lock_guard lock(mutex_);
  return compiled_;
}

void FeatureStore::publish(Definitions definitions) {
  auto compiled = std::make_shared<const Compiled>(std::move(definitions));
  const std::lock_guard lock(mutex_);
  compiled_ = std::move(compiled);
}

std::shared_ptr<const Definitions> FeatureStore::definitions() const {
  auto all = compiled();
  return {all, &all->definitions};
}

Result<bool> FeatureStore::rows_in_the_way(const FeatureView& before, const FeatureView& after, ApplyMode mode) {
  const std::string other_type = retyped(before, after);
  if (same_keys(before, after) && other_type.empty()) return false;
  ASSIGN_OR_RETURN(const auto rows, online_.scan(before.name, {}, 1));
  if (rows.empty()) return false;
  if (mode == ApplyMode::drop_rows) return true;
  return Error{ErrorKind::conflict,
               "feature_view '" + before.name +
                   "': " + (other_type.empty() ? "entities" : "the type of the feature '" + other_type + "'") +
                   " cannot change while it has rows: with force its rows are dropped"};
}

Result<std::vector<Applied>> FeatureStore::apply(const Definitions& changes, ApplyMode mode) {
  const std::unique_lock changing(changing_);
  const auto before = definitions();
  Definitions after = *before;
  std::vector<Applied> applied;
  upsert(after.views, changes.views, "feature_view", applied);
  upsert(after.services, changes.services, "feature_service", applied);
  upsert(after.push_sources, changes.push_sources, "push_source", applied);
  RETURN_IF_ERROR(check_references(after));
  std::vector<std::string> to_drop;
  for (const auto& [name, view] : changes.views) {
    const auto old = before->views.find(name);
    if (old == before->views.end()) continue;
    ASSIGN_OR_RETURN(const bool drop, rows_in_the_way(old->second, view, mode));
    if (drop) to_drop.push_back(name);
  }
  // Rows first: should the process end in between, no row is left that its view cannot read.
  for (const std::string& name : to_drop) {
    RETURN_IF_ERROR(online_.drop(name));
    const auto one = std::find_if(applied.begin(), applied.end(), [&](const Applied& candidate) {
      return candidate.what == "feature_view" && candidate.name == name;
    });
    if (one != applied.end()) one->dropped_rows = true;
  }
  RETURN_IF_ERROR(save_registry(registry_path_, after));
  publish(std::move(after));
  for (const Applied& one : applied) {
    if (one.what == "feature_view" && one.kind != Applied::Kind::unchanged) indexes_.forget(one.name);
  }
  return applied;
}

Status FeatureStore::remove_view(std::string_view name) {
  const std::unique_lock changing(changing_);
  Definitions after = *definitions();
  const auto view = after.views.find(name);
  if (view == after.views.end()) return no_such("feature view", name);
  const auto used_by = [&](const std::string& what) {
    return Error{ErrorKind::conflict, "the feature view '" + std::string(name) + "' is named by the " + what +
                                          ": change or delete that first"};
  };
  for (const auto& [other, service] : after.services) {
    if (std::any_of(service.features.begin(), service.features.end(),
                    [&](const FeatureReference& wanted) { return wanted.view == name; }))
      return used_by("feature service '" + other + "'");
  }
  for (const auto& [other, source] : after.push_sources) {
    if (source.view == name) return used_by("push source '" + other + "'");
  }
  RETURN_IF_ERROR(online_.drop(name));
  after.views.erase(view);
  RETURN_IF_ERROR(save_registry(registry_path_, after));
  publish(std::move(after));
  indexes_.forget(name);
  return {};
}

Status FeatureStore::remove_service(std::string_view name) {
  const std::unique_lock changing(changing_);
  Definitions after = *definitions();
  const auto service = after.services.find(name);
  if (service == after.services.end()) return no_such("feature service", name);
  after.services.erase(service);
  RETURN_IF_ERROR(save_registry(registry_path_, after));
  publish(std::move(after));
  return {};
}

Status FeatureStore::remove_push_source(std::string_view name) {
  const std::unique_lock changing(changing_);
  Definitions after = *definitions();
  const auto source = after.push_sources.find(name);
  if (source == after.push_sources.end()) return no_such("push source", name);
  after.push_sources.erase(source);
  RETURN_IF_ERROR(save_registry(registry_path_, after));
  publish(std::move(after));
  return {};
}

}  // namespace thaw::features
