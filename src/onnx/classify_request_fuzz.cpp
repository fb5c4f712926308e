// Any bytes as a request's query and as its JSON: refused, or options within their ranges and a photo within its bound.
#include <cstdlib>

#include "onnx/image_api.h"

namespace {

using namespace thaw;

void check(const Result<onnx::Classify>& parsed) {
  if (!parsed.ok()) {
    if (parsed.error().message.empty() || onnx::classify_error_json(parsed.error()).empty()) std::abort();
    return;
  }
  const std::size_t top_k = parsed->options.top_k;
  if (top_k < 1 || top_k > onnx::kLabelsTopKMax || parsed->photo.size() > onnx::kPhotoBytesMax) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)thaw::onnx::body_kind(bytes);
  check(thaw::onnx::parse_classify_photo(bytes, "photo"));
  check(thaw::onnx::parse_classify_json(bytes));
  return 0;
}
