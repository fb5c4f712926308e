// The reader of images: whatever the bytes are, it refuses them or gives an image that makes sense and reads the same
// when it is written again.
#include "snapshot/image.h"

#include <cstdlib>

#include "snapshot/image_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace thaw::snapshot;
  const auto image = decode_image({reinterpret_cast<const std::byte*>(data), size});
  if (!image.ok()) return 0;
  const std::string again = encode_image(*image);
  if (again.size() != size || !decode_image({reinterpret_cast<const std::byte*>(again.data()), again.size()}).ok())
    std::abort();
  (void)validate_image(*image, kPageBytes, 1ULL << 30);
  return 0;
}
