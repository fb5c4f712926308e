// A text on its way through normalisation: the characters as they are now, and for each the range of the original text
// that it stands for. Every step keeps the two in line, so that a token's offsets always point into what the caller
// sent.
//
// A character that a step inserts stands for what its predecessor stands for; one that replaces several stands for the
// first of them. These are the rules of Hugging Face's tokenizers, which the offsets must agree with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace thaw::onnx {

// Code points [begin, end) of the original text.
struct Span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool operator==(const Span&) const = default;
};

struct AlignedText {
  std::u32string chars;
  std::vector<Span> spans;  // as many as chars

  void clear() {
    chars.clear();
    spans.clear();
  }
  void push(char32_t c, Span span) {
    chars.push_back(c);
    spans.push_back(span);
  }
  // The characters themselves, where the first stands for code point first_index of the original.
  void assign(std::u32string_view text, std::uint32_t first_index) {
    chars.assign(text);
    spans.resize(text.size());
    for (std::uint32_t i = 0; i < text.size(); ++i) spans[i] = {first_index + i, first_index + i + 1};
  }
  // What the characters [begin, end) stand for; they must not be empty.
  Span span_of(std::size_t begin, std::size_t end) const { return {spans[begin].begin, spans[end - 1].end}; }
};

enum class NormalForm { nfc, nfd, nfkc, nfkd };
void normalize_form(AlignedText& text, NormalForm form);
void lower_case(AlignedText& text);

// Keeps the characters for which keep(c) is true.
template <class Keep>
void keep_characters(AlignedText& text, Keep keep) {
  std::size_t out = 0;
  for (std::size_t i = 0; i < text.chars.size(); ++i) {
    if (!keep(text.chars[i])) continue;
    text.chars[out] = text.chars[i];
    text.spans[out] = text.spans[i];
    ++out;
  }
  text.chars.resize(out);
  text.spans.resize(out);
}

}  // namespace thaw::onnx
