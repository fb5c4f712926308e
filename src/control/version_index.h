// Published versions and aliases in memory: what requests with a qualifier are answered from, without I/O.
//
// Ownership: shares immutable records with whoever found them; borrows the index of functions. Threads: any; readers
// share a lock for the length of two lookups. Cost: nothing for a function that has published nothing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/function_index.h"
#include "model/version.h"

namespace thaw::control {

class VersionIndex {
 public:
  // latest outlives the index.
  explicit VersionIndex(const FunctionIndex& latest) : latest_(latest) {}

  // As Catalog::find.
  RecordPointer find(model::QualifiedName name, double draw) const;
  // By number; nullptr or empty when there is none.
  RecordPointer newest(std::string_view name) const;
  std::vector<RecordPointer> versions(std::string_view name) const;
  std::vector<model::Alias> aliases(std::string_view name) const;
  std::optional<model::Alias> alias(model::QualifiedName name) const;
  // The alias that names the version, if any.
  std::optional<std::string> alias_of(model::QualifiedName version) const;
  // The highest number ever given, also when the function was deleted since.
  std::uint64_t last_number(std::string_view name) const;
  // Whether a version names this package.
  bool references(const std::string& code_sha256) const;

  void put(model::FunctionRecord version);
  void erase_version(std::string_view name, std::uint64_t number);
  void put_alias(std::string_view name, model::Alias alias);
  void erase_alias(model::QualifiedName name);
  void set_last_number(std::string_view name, std::uint64_t number);
  // Everything but the last number.
  void erase(std::string_view name);

 private:
  struct Published {
    std::map<std::uint64_t, RecordPointer> versions;
    std::map<std::string, model::Alias, std::less<>> aliases;
    std::uint64_t last_number = 0;
  };

  const Published* of(std::string_view name) const;
  void count_references(const model::FunctionRecord& record, int by);

  const FunctionIndex& latest_;
  mutable std::shared_mutex mutex_;
  // Guarded by mutex_.
  std::unordered_map<std::string, Published> published_;  // by folded name
  std::unordered_map<std::string, std::uint32_t> references_;
};

}  // namespace thaw::control
