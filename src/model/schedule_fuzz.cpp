// Schedules as an enemy may write them: what is taken gives times that go on, the last of which is found backwards.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "model/schedule.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto schedule = thaw::model::Schedule::parse({reinterpret_cast<const char*>(data), size});
  if (!schedule.ok()) return 0;
  constexpr std::int64_t kBegin = 1767225600;  // 2026
  std::int64_t now = kBegin;
  for (int i = 0; i < 3; ++i) {
    const auto next = schedule->next(now, kBegin);
    if (!next) break;
    if (*next <= now) std::abort();
    if (schedule->last(now, *next, kBegin) != next) std::abort();
    now = *next;
  }
  return 0;
}
