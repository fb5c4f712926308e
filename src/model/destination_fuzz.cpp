// Destinations as an enemy may write them: what is taken stays within its bounds.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "model/destination.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using thaw::model::Destination;
  const auto parsed = thaw::model::parse_destination({reinterpret_cast<const char*>(data), size});
  if (!parsed.ok()) return 0;
  if (parsed->place.empty() || parsed->place.size() > thaw::model::kDestinationBytesMax + 1) std::abort();
  if (parsed->kind != Destination::Kind::function && !parsed->qualifier.empty()) std::abort();
  return 0;
}
