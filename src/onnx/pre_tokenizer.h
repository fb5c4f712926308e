// Splits a normalised text into words, the largest pieces that a token may cover: the pre-tokenizers of tokenizer.json
// that the BERT and RoBERTa families use (BertPreTokenizer, ByteLevel, Whitespace, WhitespaceSplit, Punctuation,
// Digits, Sequence).
#pragma once

#include <cstddef>
#include <variant>
#include <vector>

#include "base/result.h"
#include "onnx/aligned_text.h"
#include "onnx/json_field.h"

namespace thaw::onnx {

// Characters [begin, end) of the text.
struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;
};

// The printable character that stands for a byte in byte-level vocabularies (GPT-2's table): printable Latin-1
// characters stand for themselves, the others are moved to U+0100 and up in order.
char32_t byte_character(unsigned char byte);
// Exclusive upper bound of byte_character's results.
inline constexpr char32_t kByteCharacterEnd = 0x144;

// Threads: immutable once made.
class PreTokenizer {
 public:
  struct Bert {};
  struct ByteLevel {
    bool add_prefix_space = true;
    bool use_regex = true;
  };

  PreTokenizer() = default;
  explicit PreTokenizer(Bert bert) : steps_{bert} {}
  // field: the document's "pre_tokenizer"; null means none. Errors: as Normalizer::from_json.
  static Result<PreTokenizer> from_json(const JsonField& field);

  // Sets words to the text's words, in order, none empty. ByteLevel also changes the text.
  void apply(AlignedText& text, std::vector<Range>& words) const;

 private:
  struct WhitespaceSplit {};
  struct Whitespace {};   // \w+|[^\w\s]+
  struct Punctuation {};  // each on its own
  struct Digits {
    bool individual = false;
  };
  using Step = std::variant<Bert, ByteLevel, WhitespaceSplit, Whitespace, Punctuation, Digits>;

  static Status add_from_json(const JsonField& field, std::vector<Step>& steps);

  std::vector<Step> steps_;
};

}  // namespace thaw::onnx
