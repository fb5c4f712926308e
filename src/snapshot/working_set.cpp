#include "snapshot/working_set.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
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
  std::uint32_t written = 0;
  AddressRange ranges[kWorkingSetRangesMax + kWrittenRangesMax] = {};
};
constexpr ssize_t kHeaderBytes = 16;
static_assert(sizeof(Stored) == kHeaderBytes + 16 * (kWorkingSetRangesMax + kWrittenRangesMax));

bool makes_sense(const AddressRange& range) {
  return range.start < range.end && range.start % kPageBytes == 0 && range.end % kPageBytes == 0;
}

}  // namespace

WorkingSet read_working_set(const UniqueFd& file) {
  WorkingSet set;
  Stored stored;
  const ssize_t got = file.valid() ? ::pread(file.get(), &stored, sizeof(stored), 0) : 0;
  if (got < kHeaderBytes || stored.magic != kMagic) return set;
  const std::span<const AddressRange> here =
      std::span(stored.ranges).first(static_cast<std::size_t>(got - kHeaderBytes) / 16);
  const std::size_t count = std::min<std::size_t>(stored.count, here.size());
  const std::size_t written = std::min<std::size_t>(stored.written, here.size() - count);
  std::copy_if(here.begin(), here.begin() + static_cast<std::ptrdiff_t>(count), std::back_inserter(set.ranges),
               makes_sense);
  const std::span<const AddressRange> rest = here.subspan(count, written);
  std::copy_if(rest.begin(), rest.end(), std::back_inserter(set.written), makes_sense);
  set.lessons = stored.lessons;
  return set;
}

Status add_lesson(const UniqueFd& file, std::span<const AddressRange> touched, std::span<const AddressRange> written) {
  const WorkingSet set = read_working_set(file);
  Stored stored;
  stored.lessons = set.lessons + 1;
  for (const std::span<const AddressRange> part : {std::span<const AddressRange>(set.ranges), touched}) {
    for (const AddressRange& range : part) {
      if (stored.count < kWorkingSetRangesMax) stored.ranges[stored.count++] = range;
    }
  }
  AddressRanges all;
  for (const std::span<const AddressRange> part : {std::span<const AddressRange>(set.written), written}) {
    for (const AddressRange& range : part) all.add(range);
  }
  // What is too much is left out here, too: joined over gaps they would hold what nobody writes to.
  for (const AddressRange& range : all.all()) {
    if (stored.written < kWrittenRangesMax) stored.ranges[stored.count + stored.written++] = range;
  }
  const std::size_t bytes = kHeaderBytes + (std::size_t{stored.count} + stored.written) * 16;
  return sys::pwrite_all(file, std::string_view(reinterpret_cast<const char*>(&stored), bytes), 0);
}

}  // namespace thaw::snapshot
