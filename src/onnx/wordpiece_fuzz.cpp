// Any text through BERT's tokenizer: ids in range, offsets in the text and in order.
#include "onnx/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace thaw::onnx;
  constexpr std::string_view kVocabulary =
      "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nab\nabc\n##a\n##b\n##c\n##bc\n##e\n!\n,\n.\n1\n2\n##1\n"
      "\xe6\x9d\xb1\ni\n##i\ns\n##s\nthe\n'\n\xcf\x83\n##\xcf\x82\n";
  static const Tokenizer lower = Tokenizer::from_vocab_txt(kVocabulary, {}).value();
  static const Tokenizer cased = Tokenizer::from_vocab_txt(kVocabulary, {.lowercase = false}).value();
  const std::u32string text = fuzz_text({reinterpret_cast<const char*>(data), size});
  check_encoding(lower, text);
  check_encoding(cased, text);
  return 0;
}
