#include "control/version_index.h"

#include <algorithm>
#include <mutex>

#include "control/function_table.h"

namespace thaw::control {

const VersionIndex::Published* VersionIndex::of(std::string_view name) const {
  const auto found = published_.find(folded_name(name));
  return found == published_.end() ? nullptr : &found->second;
}

RecordPointer VersionIndex::find(model::QualifiedName name, double draw) const {
  const auto& [function, qualifier] = name;
  if (qualifier.empty() || qualifier == model::kLatestVersion) return latest_.find(function);
  const std::shared_lock lock(mutex_);
  const Published* published = of(function);
  if (published == nullptr) return nullptr;
  auto number = model::version_number(qualifier);
  if (!number) {
    const auto alias = published->aliases.find(qualifier);
    if (alias == published->aliases.end()) return nullptr;
    const auto& additional = alias->second.additional;
    const bool other = additional && draw < additional->weight;
    const std::string& version = other ? additional->version : alias->second.function_version;
    if (version == model::kLatestVersion) return latest_.find(function);
    number = model::version_number(version);
  }
  const auto version = published->versions.find(number.value_or(0));
  return version == published->versions.end() ? nullptr : version->second;
}

RecordPointer VersionIndex::newest(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  const Published* published = of(name);
  return published == nullptr || published->versions.empty() ? nullptr : published->versions.rbegin()->second;
}

std::vector<RecordPointer> VersionIndex::versions(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  std::vector<RecordPointer> versions;
  if (const Published* published = of(name)) {
    for (const auto& [number, record] : published->versions) versions.push_back(record);
  }
  return versions;
}

std::vector<model::Alias> VersionIndex::aliases(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  std::vector<model::Alias> aliases;
  if (const Published* published = of(name)) {
    for (const auto& [alias_name, alias] : published->aliases) aliases.push_back(alias);
  }
  return aliases;
}

std::optional<model::Alias> VersionIndex::alias(model::QualifiedName name) const {
  const std::shared_lock lock(mutex_);
  const Published* published = of(name.function);
  if (published == nullptr) return std::nullopt;
  const auto found = published->aliases.find(name.qualifier);
  return found == published->aliases.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string> VersionIndex::alias_of(model::QualifiedName version) const {
  const std::shared_lock lock(mutex_);
  const Published* published = of(version.function);
  if (published == nullptr) return std::nullopt;
  for (const auto& [alias_name, alias] : published->aliases) {
    if (alias.names(version.qualifier)) return alias_name;
  }
  return std::nullopt;
}

std::uint64_t VersionIndex::last_number(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  const Published* published = of(name);
  return published == nullptr ? 0 : published->last_number;
}

bool VersionIndex::references(const std::string& code_sha256) const {
  const std::shared_lock lock(mutex_);
  return references_.contains(code_sha256);
}

void VersionIndex::put(model::FunctionRecord version) {
  const std::uint64_t number = model::version_number(version.version).value_or(0);
  auto fresh = std::make_shared<const model::FunctionRecord>(std::move(version));
  const std::unique_lock lock(mutex_);
  Published& published = published_[folded_name(fresh->config.name)];
  published.last_number = std::max(published.last_number, number);
  count_references(*fresh, +1);
  published.versions[number] = std::move(fresh);
}

void VersionIndex::erase_version(std::string_view name, std::uint64_t number) {
  const std::unique_lock lock(mutex_);
  const auto published = published_.find(folded_name(name));
  if (published == published_.end()) return;
  const auto version = published->second.versions.find(number);
  if (version == published->second.versions.end()) return;
  count_references(*version->second, -1);
  published->second.versions.erase(version);
}

void VersionIndex::put_alias(std::string_view name, model::Alias alias) {
  const std::unique_lock lock(mutex_);
  std::string key = alias.name;
  published_[folded_name(name)].aliases.insert_or_assign(std::move(key), std::move(alias));
}

void VersionIndex::erase_alias(model::QualifiedName name) {
  const std::unique_lock lock(mutex_);
  const auto published = published_.find(folded_name(name.function));
  if (published != published_.end()) published->second.aliases.erase(std::string(name.qualifier));
}

void VersionIndex::set_last_number(std::string_view name, std::uint64_t number) {
  const std::unique_lock lock(mutex_);
  std::uint64_t& last = published_[folded_name(name)].last_number;
  last = std::max(last, number);
}

void VersionIndex::erase(std::string_view name) {
  const std::unique_lock lock(mutex_);
  const auto published = published_.find(folded_name(name));
  if (published == published_.end()) return;
  for (const auto& [number, record] : published->second.versions) count_references(*record, -1);
  published->second.versions.clear();
  published->second.aliases.clear();
  if (published->second.last_number == 0) published_.erase(published);
}

void VersionIndex::count_references(const model::FunctionRecord& record, int by) {
  for (const std::string* sha : {&record.code_sha256, &record.config.layers.sha256}) {
    if (sha->empty()) continue;
    std::uint32_t& count = references_[*sha];
    count = static_cast<std::uint32_t>(static_cast<int>(count) + by);
    if (count == 0) references_.erase(*sha);
  }
}

}  // namespace thaw::control
