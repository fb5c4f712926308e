// Stored events as a damaged store may give them back: one that is taken is stored the same way again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "events/queued_event.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto event = thaw::events::decode_queued_event({reinterpret_cast<const char*>(data), size});
  if (!event.ok()) return 0;
  const auto again = thaw::events::decode_queued_event(thaw::events::encode_queued_event(*event));
  if (!again.ok() || *again != *event) std::abort();
  return 0;
}
