#include "snapshot/working_set.h"

#include <unistd.h>

#include <cstring>
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
static_assert(sizeof(Stored) == 16 + 16 * kWorkingSetRangesMax);

}  // namespace

WorkingSet read_working_set(const UniqueFd& file) {
  WorkingSet set;
  Stored stored;
  const ssize_t got = file.valid() ? ::pread(file.get(), &stored, sizeof(stored), 0) : 0;
  if (got < 16 || stored.magic != kMagic || stored.count > kWorkingSetRangesMax) return set;
  const std::size_t count = std::min<std::size_t>(stored.count, (static_cast<std::size_t>(got) - 16) / 16);
  AddressRanges ranges;
  for (std::size_t i = 0; i < count; ++i) {
    const AddressRange& range = stored.ranges[i];
    if (range.start < range.end && range.start % kPageBytes == 0 && range.end % kPageBytes == 0) ranges.add(range);
  }
  set.lessons = stored.lessons;
  set.ranges = ranges.all();
  return set;
}

Status add_lesson(const UniqueFd& file, std::span<const AddressRange> touched) {
  WorkingSet set = read_working_set(file);
  AddressRanges ranges;
  for (const AddressRange& range : set.ranges) ranges.add(range);
  for (const AddressRange& range : touched) ranges.add(range);
  const std::vector<AddressRange> joined = at_most(ranges.all(), kWorkingSetRangesMax);
  Stored stored;
  stored.lessons = set.lessons + 1;
  stored.count = static_cast<std::uint32_t>(joined.size());
  std::memcpy(stored.ranges, joined.data(), joined.size() * sizeof(AddressRange));
  return sys::pwrite_all(file, std::string_view(reinterpret_cast<const char*>(&stored), 16 + joined.size() * 16), 0);
}

}  // namespace thaw::snapshot
