#include "adapters/redis/redis_address.h"

#include <cstdlib>

// An address that is taken is the same when its name is read again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const auto address = thaw::adapters::parse_redis_address({reinterpret_cast<const char*>(bytes), size});
  if (!address.ok() || !address->socket.empty()) return 0;
  const auto again = thaw::adapters::parse_redis_address(address->name());
  if (again.ok() && (again->port != address->port || again->database != address->database)) std::abort();
  return 0;
}
