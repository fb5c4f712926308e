// Any bytes: no crash, no reading outside, no long work, and sums that hold.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "model/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto info = thaw::model::read_gguf(bytes, size);
  if (info.ok() && (info->bytes > size || info->data_offset > info->bytes)) std::abort();
  // As if the file were much longer than what is seen of it.
  (void)thaw::model::read_gguf(bytes, std::uint64_t{1} << 40);
  return 0;
}
