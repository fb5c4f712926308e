// What holds for every text and tokenizer; the fuzz targets share it.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "onnx/tokenizer.h"
#include "onnx/unicode.h"

namespace thaw::onnx {

// Aborts unless the tokens' ids are in range and their offsets lie in the text, in order.
inline void check_encoding(const Tokenizer& tokenizer, std::u32string_view text) {
  const Encoding encoding = tokenizer.encode(text);
  if (encoding.offsets.size() != encoding.size() || encoding.words.size() != encoding.size()) std::abort();
  Span last{};
  std::uint32_t last_word = 0;
  for (std::size_t i = 0; i < encoding.size(); ++i) {
    const Span span = encoding.offsets[i];
    const Span trimmed = tokenizer.trimmed_offset(encoding.ids[i], span, i);
    if (encoding.ids[i] >= tokenizer.id_end()) std::abort();
    if (span.begin > span.end || span.end > text.size() || span.begin < last.begin || span.end < last.end) std::abort();
    if (trimmed.begin < span.begin || trimmed.end > span.end || trimmed.begin > trimmed.end) std::abort();
    if (encoding.words[i] < last_word) std::abort();
    last = span;
    last_word = encoding.words[i];
  }
}

// Bytes as UTF-8; as Latin-1 where they are none, so that no input is wasted.
inline std::u32string fuzz_text(std::string_view bytes) {
  auto text = decode_utf8(bytes);
  if (text.ok()) return *std::move(text);
  std::u32string out;
  for (const char byte : bytes) out.push_back(static_cast<unsigned char>(byte));
  return out;
}

}  // namespace thaw::onnx
