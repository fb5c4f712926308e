#include "control/function_index.h"

#include <algorithm>
#include <cstring>
#include <mutex>

namespace thaw::control {
namespace {

char folded(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool folded_less(std::string_view a, std::string_view b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                      [](char x, char y) { return folded(x) < folded(y); });
}

// Zeros for what is no digest: such a record counts under one key, which no package has.
Sha256Digest digest_of(const std::string& hex_text) {
  Sha256Digest digest{};
  if (hex_text.size() != 2 * digest.size()) return digest;
  const auto value = [](char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; };
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<unsigned char>(value(hex_text[2 * i]) * 16 + value(hex_text[2 * i + 1]));
  }
  return digest;
}

auto position(auto& by_name, std::string_view name) {
  return std::lower_bound(by_name.begin(), by_name.end(), name,
                          [](const model::FunctionRecord* record, std::string_view wanted) {
                            return folded_less(record->config.name, wanted);
                          });
}

}  // namespace

// FNV-1a ("The FNV Non-Cryptographic Hash Algorithm", RFC draft by Fowler, Noll, Vo and Eastlake).
std::size_t FunctionIndex::FoldedHash::operator()(std::string_view name) const {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(folded(c))) * 0x100000001b3ULL;
  return hash;
}

bool FunctionIndex::FoldedEqual::equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return folded(x) == folded(y); });
}

std::size_t FunctionIndex::DigestHash::operator()(const Sha256Digest& digest) const {
  std::size_t hash = 0;
  std::memcpy(&hash, digest.data(), sizeof(hash));
  return hash;
}

RecordPointer FunctionIndex::find(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  const auto found = records_.find(name);
  return found == records_.end() ? nullptr : *found;
}

Page FunctionIndex::list(std::string_view marker, std::size_t count_max) const {
  const std::shared_lock lock(mutex_);
  auto at = position(by_name_, marker);
  if (!marker.empty() && at != by_name_.end() && FoldedEqual::equal((*at)->config.name, marker)) ++at;
  Page page;
  for (; at != by_name_.end() && page.functions.size() < count_max; ++at) page.functions.push_back(**at);
  if (at != by_name_.end() && !page.functions.empty()) page.next_marker = page.functions.back().config.name;
  return page;
}

std::size_t FunctionIndex::count() const {
  const std::shared_lock lock(mutex_);
  return records_.size();
}

bool FunctionIndex::references(const std::string& code_sha256) const {
  const std::shared_lock lock(mutex_);
  return references_.contains(digest_of(code_sha256));
}

RecordPointer FunctionIndex::put(model::FunctionRecord record) {
  auto fresh = std::make_shared<const model::FunctionRecord>(std::move(record));
  const std::unique_lock lock(mutex_);
  RecordPointer before = erase_locked(fresh->config.name);
  by_name_.insert(position(by_name_, fresh->config.name), fresh.get());
  count_reference(fresh, +1);
  records_.insert(std::move(fresh));
  return before;
}

RecordPointer FunctionIndex::erase(std::string_view name) {
  const std::unique_lock lock(mutex_);
  return erase_locked(name);
}

RecordPointer FunctionIndex::erase_locked(std::string_view name) {
  const auto found = records_.find(name);
  if (found == records_.end()) return nullptr;
  RecordPointer record = *found;
  by_name_.erase(position(by_name_, name));
  count_reference(record, -1);
  records_.erase(found);
  return record;
}

void FunctionIndex::count_reference(const RecordPointer& record, int by) {
  for (const std::string* sha : {&record->code_sha256, &record->config.layers.sha256}) {
    if (sha->empty()) continue;
    const Sha256Digest digest = digest_of(*sha);
    std::uint32_t& count = references_[digest];
    count = static_cast<std::uint32_t>(static_cast<int>(count) + by);
    if (count == 0) references_.erase(digest);
  }
}

}  // namespace thaw::control
