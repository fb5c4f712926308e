// The functions in memory: what find() answers from, for each request, without I/O.
//
// Ownership: shares immutable records with whoever found them. Threads: any; readers share a lock for the length of a
// hash lookup. Cost: about 1 KB a function.
#pragma once

#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/digest/sha256.h"
#include "control/catalog.h"
#include "model/function.h"

namespace thaw::control {

using RecordPointer = std::shared_ptr<const model::FunctionRecord>;

class FunctionIndex {
 public:
  RecordPointer find(std::string_view name) const;
  Page list(std::string_view marker, std::size_t count_max) const;
  std::size_t count() const;
  // Whether a function's current record names this package, or has it as its layers.
  bool references(const std::string& code_sha256) const;

  // Returns the record that was replaced, if any.
  RecordPointer put(model::FunctionRecord record);
  RecordPointer erase(std::string_view name);

 private:
  struct FoldedHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const;
    std::size_t operator()(const RecordPointer& record) const { return (*this)(record->config.name); }
  };
  struct FoldedEqual {
    using is_transparent = void;
    static std::string_view name(std::string_view text) { return text; }
    static std::string_view name(const RecordPointer& record) { return record->config.name; }
    bool operator()(const auto& a, const auto& b) const { return equal(name(a), name(b)); }
    static bool equal(std::string_view a, std::string_view b);
  };
  struct DigestHash {
    std::size_t operator()(const Sha256Digest& digest) const;
  };

  RecordPointer erase_locked(std::string_view name);
  void count_reference(const RecordPointer& record, int by);

  mutable std::shared_mutex mutex_;
  // Guarded by mutex_.
  std::unordered_set<RecordPointer, FoldedHash, FoldedEqual> records_;
  std::vector<const model::FunctionRecord*> by_name_;  // of records_, sorted by folded name
  std::unordered_map<Sha256Digest, std::uint32_t, DigestHash> references_;
};

}  // namespace thaw::control
