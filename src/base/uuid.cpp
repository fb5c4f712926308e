#include "base/uuid.h"

#include <sys/random.h>

#include <cstdint>
#include <cstdlib>

namespace thaw {
namespace {

// xoshiro256** by Blackman and Vigna ("Scrambled linear pseudorandom number generators", 2018).
class Generator {
 public:
  Generator() {
    if (::getrandom(state_, sizeof(state_), 0) != static_cast<ssize_t>(sizeof(state_))) std::abort();
  }
  std::uint64_t next() {
    const std::uint64_t result = rotated(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotated(state_[3], 45);
    return result;
  }

 private:
  static std::uint64_t rotated(std::uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }
  std::uint64_t state_[4];
};

}  // namespace

std::string random_uuid() {
  thread_local Generator generator;
  std::uint64_t high = generator.next();
  std::uint64_t low = generator.next();
  high = (high & ~0xf000ULL) | 0x4000ULL;
  low = (low & ~(3ULL << 62)) | (2ULL << 62);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(36, '-');
  int nibble = 0;
  for (int i = 0; i < 36; ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) continue;
    const std::uint64_t word = nibble < 16 ? high : low;
    text[static_cast<std::size_t>(i)] = kDigits[(word >> (60 - 4 * (nibble % 16))) & 15];
    ++nibble;
  }
  return text;
}

}  // namespace thaw
