// Any text through a byte-level tokenizer as RoBERTa's, with every byte in the vocabulary: as wordpiece_fuzz, and every
// character of the text is part of a token.
#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "onnx/fuzz_check.h"

namespace {

using namespace thaw::onnx;

Tokenizer make_tokenizer() {
  boost::json::object vocabulary{{"<s>", 0}, {"<pad>", 1}, {"</s>", 2}, {"<unk>", 3}};
  std::vector<std::string> tokens;
  for (unsigned byte = 0; byte < 256; ++byte) {
    tokens.push_back(encode_utf8(std::u32string(1, byte_character(static_cast<unsigned char>(byte)))));
  }
  boost::json::array merges;
  const std::string space = tokens[' '];
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"a", "b"}, {"ab", "ab"}, {space, "a"}, {space, space}, {"e", "e"}, {"ee", "ee"}, {tokens[0xC3], tokens[0xA9]}};
  for (const auto& [left, right] : pairs) {
    tokens.push_back(left + right);
    merges.push_back(boost::json::array{left, right});
  }
  for (const std::string& token : tokens) vocabulary.emplace(token, vocabulary.size());
  const boost::json::object document{{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}},
                                     {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                                     {"post_processor",
                                      {{"type", "RobertaProcessing"},
                                       {"sep", boost::json::array{"</s>", 2}},
                                       {"cls", boost::json::array{"<s>", 0}},
                                       {"trim_offsets", true},
                                       {"add_prefix_space", false}}}};
  return Tokenizer::from_json(boost::json::serialize(document)).value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Tokenizer tokenizer = make_tokenizer();
  const std::u32string text = fuzz_text({reinterpret_cast<const char*>(data), size});
  check_encoding(tokenizer, text);
  std::size_t covered = 0;
  for (const Span span : tokenizer.encode(text).offsets) {
    if (span.begin > covered) std::abort();
    covered = span.end;
  }
  if (covered != text.size()) std::abort();
  return 0;
}
