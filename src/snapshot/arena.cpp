#include "snapshot/arena.h"

#include <sys/mman.h>

namespace thaw::snapshot {
namespace {

constexpr std::uint64_t kFirstPlace = 0x10000;  // vm.mmap_min_addr
constexpr std::uint64_t kStep = 64ULL << 20;

std::uint64_t round_up(std::uint64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

}  // namespace

Status Arena::map(const Image& image, std::uint64_t bytes) {
  bytes_ = round_up(bytes);
  std::uint64_t from = kFirstPlace;
  for (std::size_t i = 0; i <= image.mappings.size(); ++i) {
    const std::uint64_t gap_end = i < image.mappings.size() ? image.mappings[i].start : kUserEnd;
    // A stack grows down into its gap: stay away from its lower end.
    for (std::uint64_t at = from; at + bytes_ + kStep <= gap_end; at += kStep) {
      void* const got = ::mmap(reinterpret_cast<void*>(at), bytes_, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
      if (got == MAP_FAILED) continue;
      begin_ = next_ = at;
      return {};
    }
    if (i < image.mappings.size()) from = image.mappings[i].end;
  }
  return Error{ErrorKind::unsupported, "snapshot: no free place in its address space"};
}

std::uint64_t Arena::used_end() const { return round_up(next_); }

}  // namespace thaw::snapshot
