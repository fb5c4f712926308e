// A hash map from 64-bit keys to small values: open addressing, linear probing, two flat arrays. Vocabularies are built
// once and then looked up for every character of every text, so a lookup must be one or two cache lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace thaw::onnx {

template <class Value>
class FlatMap {
 public:
  static constexpr std::uint64_t kNoKey = ~std::uint64_t{0};  // may not be used as a key

  explicit FlatMap(std::size_t size_expected = 0) { rehash(size_expected * 2); }

  // Null when absent. Valid until the next insert().
  const Value* find(std::uint64_t key) const {
    for (std::size_t slot = mix(key) & mask_;; slot = (slot + 1) & mask_) {
      if (keys_[slot] == key) return &values_[slot];
      if (keys_[slot] == kNoKey) return nullptr;
    }
  }
  // The value of the key, made from `value` when it is new.
  Value& insert(std::uint64_t key, Value value, bool* inserted = nullptr) {
    if ((size_ + 1) * 2 > keys_.size()) rehash(keys_.size() * 2);
    std::size_t slot = mix(key) & mask_;
    while (keys_[slot] != kNoKey && keys_[slot] != key) slot = (slot + 1) & mask_;
    const bool is_new = keys_[slot] == kNoKey;
    if (inserted != nullptr) *inserted = is_new;
    if (is_new) {
      keys_[slot] = key;
      values_[slot] = value;
      ++size_;
    }
    return values_[slot];
  }
  std::size_t size() const { return size_; }

 private:
  static std::size_t mix(std::uint64_t key) {
    key *= 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio (Knuth, The Art of Computer Programming, vol. 3, 6.4)
    return static_cast<std::size_t>(key ^ (key >> 32));
  }

  void rehash(std::size_t slots_min) {
    std::size_t slots = 16;
    while (slots < slots_min) slots *= 2;
    std::vector<std::uint64_t> old_keys(slots, kNoKey);
    std::vector<Value> old_values(slots);
    old_keys.swap(keys_);
    old_values.swap(values_);
    mask_ = slots - 1;
    size_ = 0;
    for (std::size_t i = 0; i < old_keys.size(); ++i) {
      if (old_keys[i] != kNoKey) insert(old_keys[i], old_values[i]);
    }
  }

  std::vector<std::uint64_t> keys_;
  std::vector<Value> values_;
  std::size_t mask_ = 0;
  std::size_t size_ = 0;
};

}  // namespace thaw::onnx
