// Memory for the tables of a restore, at an address that survives the moment when the process has no memory: handed out
// from its beginning, given back never.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/result.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

inline constexpr std::uint64_t kUserEnd = 0x7ffffffff000;  // of user space with four-level page tables

class Arena {
 public:
  // The first place that is free in the image and in this process. bytes: an upper bound of what will be taken.
  // Errors: unsupported when the image leaves no such place.
  Status map(const Image& image, std::uint64_t bytes);

  template <class T>
  T* take(std::size_t count = 1, std::size_t alignment = alignof(T)) {
    next_ = (next_ + alignment - 1) / alignment * alignment;
    T* const result = reinterpret_cast<T*>(next_);
    next_ += count * sizeof(T);
    if (next_ > begin_ + bytes_) std::abort();  // the bound was none
    return result;
  }
  template <class T>
  T* put(const T& value) {
    T* const place = take<T>();
    std::memcpy(place, &value, sizeof(value));
    return place;
  }

  std::uint64_t begin() const { return begin_; }
  std::uint64_t used_end() const;  // a multiple of the page size
  std::uint64_t end() const { return begin_ + bytes_; }

 private:
  std::uint64_t begin_ = 0;
  std::uint64_t next_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace thaw::snapshot
