// Any bytes as a JPEG: refused, or a picture of the size that it says, within the limits.
#include "image/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  thaw::image::check_decode(thaw::image::decode_jpeg, {reinterpret_cast<const char*>(data), size});
  return 0;
}
