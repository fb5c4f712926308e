// Messages as an enemy may send them: one that is taken encodes to the very bytes that it came in.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "http/amazon_event_stream.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (true) {
    const auto decoded = thaw::http::decode_amazon_message(rest);
    if (!decoded.ok() || !decoded->has_value()) return 0;
    const auto encoded = thaw::http::encode_amazon_message((*decoded)->message);
    if (!encoded.ok() || *encoded != rest.substr(0, (*decoded)->bytes)) std::abort();
    rest.remove_prefix((*decoded)->bytes);
  }
}
