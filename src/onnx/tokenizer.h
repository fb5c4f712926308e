// Text to token ids, exactly as Hugging Face's tokenizers do it for the BERT, DistilBERT and RoBERTa families, with
// offsets in code points of the caller's text. Read from `tokenizer.json`, or from BERT's `vocab.txt`.
//
// The way of a text: added tokens ("[SEP]") are cut out first; the rest is normalised (normalizer.h), cut into words
// (pre_tokenizer.h), and each word becomes tokens (token_model.h). A pair of texts is then joined by a template
// ("[CLS] A [SEP] B [SEP]").
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "onnx/added_tokens.h"
#include "onnx/aligned_text.h"
#include "onnx/normalizer.h"
#include "onnx/pre_tokenizer.h"
#include "onnx/token_model.h"

namespace thaw::onnx {

// Tokens of one text; the three are of one length.
struct Encoding {
  std::vector<TokenId> ids;
  std::vector<Span> offsets;         // code points of the text
  std::vector<std::uint32_t> words;  // the word that the token is part of, counted from 0

  std::size_t size() const { return ids.size(); }
  void push(TokenId id, Span offset, std::uint32_t word) {
    ids.push_back(id);
    offsets.push_back(offset);
    words.push_back(word);
  }
};

// How two texts become one row of input: special tokens, and where the texts go.
struct PairTemplate {
  enum class What { special, first, second };
  struct Part {
    What what = What::special;
    TokenId id = 0;  // of a special token
    std::uint32_t type_id = 0;
  };
  std::vector<Part> parts;
  std::size_t special_count = 0;
};

// Whether a token's offsets leave out the white space at its ends (byte-level tokens carry their space).
struct OffsetTrim {
  bool enabled = false;
  bool keep_first_space = false;  // the first token's space was put there by the tokenizer
};

// Ids that a task needs by name; absent when the tokenizer has no such token.
struct SpecialIds {
  std::optional<TokenId> cls;
  std::optional<TokenId> pad;
};

// Threads: immutable once made; encode() may run on many threads at a time.
class Tokenizer {
 public:
  // json: the text of tokenizer.json. Errors: invalid_argument naming the field; unsupported for other families.
  static Result<Tokenizer> from_json(std::string_view json);
  struct VocabTxtOptions {
    bool lowercase = true;
    bool handle_chinese_chars = true;
    std::optional<bool> strip_accents;  // absent: as lowercase
  };
  // BERT's defaults around the vocabulary.
  static Result<Tokenizer> from_vocab_txt(std::string_view lines, const VocabTxtOptions& options);

  // Without the special tokens of the template. Offsets are not trimmed; see trimmed_offset().
  Encoding encode(std::u32string_view text) const;
  const PairTemplate& pair_template() const { return pair_; }
  // The offset to report for a token that stands at `index` of its sequence in the row.
  Span trimmed_offset(TokenId id, Span offset, std::size_t index) const;

  // The id of a token by its text: for the special tokens that configuration files name. Knows added tokens, and
  // "[CLS]", "[PAD]", "<s>" and "<pad>" of the vocabulary.
  std::optional<TokenId> special_id(std::string_view token) const;
  // One more than the largest id that encode() can return.
  TokenId id_end() const { return id_end_; }

 private:
  Tokenizer() = default;
  Status read_post_processor(const JsonField& field, const Vocabulary& vocabulary);
  Status read_template(const JsonField& field);
  Status read_fixed_template(const JsonField& field, std::string_view type, const Vocabulary& vocabulary);
  Status read_trim(const JsonField& field);
  void set_template(std::vector<PairTemplate::Part> parts);
  void keep_from(const Vocabulary& vocabulary);
  Status check_ids() const;
  void encode_plain(std::u32string_view text, std::uint32_t first_index, std::uint32_t& word, Encoding& out,
                    std::vector<Range>& words, std::vector<Token>& tokens) const;
  void encode_words(AlignedText& text, std::uint32_t& word, Encoding& out, std::vector<Range>& words,
                    std::vector<Token>& tokens) const;

  AddedTokens added_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::variant<WordPiece, BytePairs> model_;
  PairTemplate pair_;
  OffsetTrim trim_;
  // For each id the white-space characters at the token's two ends; only when trim_ is enabled.
  struct Ends {
    std::uint8_t leading = 0;
    std::uint8_t trailing = 0;
  };
  std::vector<Ends> ends_;
  std::vector<std::pair<std::string, TokenId>> special_ids_;
  TokenId id_end_ = 0;
};

}  // namespace thaw::onnx
