// Any bytes as tokenizer.json: refused, or a tokenizer that keeps its promises.
#include "onnx/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace thaw::onnx;
  const auto tokenizer = Tokenizer::from_json({reinterpret_cast<const char*>(data), size});
  if (!tokenizer.ok()) return 0;
  check_encoding(*tokenizer, U"");
  check_encoding(*tokenizer, U"The caf\u00e9's [MASK]  <mask> e\u0301 \u6771\u4eac \U0001F697 \u0130 12.5\n");
  return 0;
}
