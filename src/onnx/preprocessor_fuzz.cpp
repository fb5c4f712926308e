// Any bytes as preprocessor_config.json: refused, or a preprocessor that makes inputs of the size that it says.
#include <cstdlib>

#include "onnx/preprocessor.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace thaw;
  const auto preprocessor = onnx::Preprocessor::from_json({reinterpret_cast<const char*>(data), size});
  if (!preprocessor.ok()) return 0;
  for (const image::Size of : {image::Size{1, 1}, image::Size{9, 7}, image::Size{2, 300}}) {
    const auto input = preprocessor->make_input({of, std::vector<std::uint8_t>(of.pixels() * image::kChannels, 200)});
    if (!input.ok()) continue;
    if (input->values.size() != input->size.pixels() * image::kChannels || input->values.empty()) std::abort();
    if (const auto fixed = preprocessor->fixed_size(); fixed && *fixed != input->size) std::abort();
  }
  return 0;
}
