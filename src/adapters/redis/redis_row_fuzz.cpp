#include "adapters/redis/redis_row.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const auto row = thaw::adapters::decode_redis_row("key", text);
  if (row.ok() && thaw::adapters::encode_redis_row(*row) != text) std::abort();
  return 0;
}
