#include "snapshot/working_set.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "base/sys.h"
#include "snapshot/image.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint32_t kMagic = 0x53575448;  // "HTWS"

struct Stored {
  std::uint32_t magic = kMagic;
  std::uint32_t lessons = 0;
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
  AddressRange ranges[kWorkingSetRangesMax] = {};
};
constexpr ssize_t kHeaderBytes = 16;
static_assert(sizeof(Stored) == kHeaderBytes + 16 * kWorkingSetRangesMax);

}  // namespace

WorkingSet read_working_set(const UniqueFd& file) {
  WorkingSet set;
  Stored stored;
  const ssize_t got = file.valid() ? ::pread(file.get(), &stored, sizeof(stored), 0) : 0;
  if (got < kHeaderBytes || stored.magic != kMagic) return set;
  const std::size_t count = std::min<std::size_t>(stored.count, static_cast<std::size_t>(got - kHeaderBytes) / 16);
  for (const AddressRange& range : std::span(stored.ranges).first(count)) {
    if (range.start < range.end && range.start % kPageBytes == 0 && range.end % kPageBytes == 0)
      set.ranges.push_back(range);
  }
  set.lessons = stored.lessons;
  return set;
}

Status add_lesson(const UniqueFd& file, std::span<const AddressRange> touched) {
  const WorkingSet set = read_working_set(file);
  Stored stored;
  stored.lessons = set.lessons + 1;
  for (const std::span<const AddressRange> part : {std::span<const AddressRange>(set.ranges), touched}) {
    for (const AddressRange& range : part) {
      if (stored.count < kWorkingSetRangesMax) stored.ranges[stored.count++] = range;
    }
  }
  return sys::pwrite_all(
      file, std::string_view(reinterpret_cast<const char*>(&stored), kHeaderBytes + std::size_t{stored.count} * 16), 0);
}

}  // namespace thaw::snapshot
