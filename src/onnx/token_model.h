// From a word to tokens: WordPiece (BERT, DistilBERT) and byte-pair encoding (RoBERTa).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "onnx/flat_map.h"
#include "onnx/json_field.h"
#include "onnx/pre_tokenizer.h"
#include "onnx/vocabulary.h"

namespace thaw::onnx {

// A token and the characters of the text that it covers.
struct Token {
  TokenId id = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

// Takes the longest known piece from the front of what is left of a word; a word with a piece that is not known, or
// that is too long, is one unknown token (Devlin et al., BERT, 2018; Wu et al., Google's NMT system, 2016).
// Threads: immutable once made.
class WordPiece {
 public:
  struct Options {
    std::string unknown_token = "[UNK]";
    std::string continuing_prefix = "##";
    std::size_t word_characters_max = 100;
  };

  // Errors: invalid_argument when the vocabulary lacks the unknown token or holds ill-formed UTF-8.
  static Result<WordPiece> create(const Vocabulary& vocabulary, const Options& options, std::string_view document);
  // model: the document's "model".
  static Result<WordPiece> from_json(const JsonField& model, const Vocabulary& vocabulary);

  void tokenize(std::u32string_view text, Range word, std::vector<Token>& out) const;

 private:
  static constexpr std::uint32_t kRootFirst = 0;     // pieces at the front of a word
  static constexpr std::uint32_t kRootContinue = 1;  // pieces after it, without their prefix
  static constexpr TokenId kNoToken = ~TokenId{0};

  void insert(std::uint32_t root, std::u32string_view piece, TokenId id);

  // A trie: (node, character) to the next node; and for each node the token that ends there.
  FlatMap<std::uint32_t> edges_;
  std::vector<TokenId> tokens_{kNoToken, kNoToken};
  TokenId unknown_ = 0;
  std::size_t word_characters_max_ = 100;
};

// Joins the pair of neighbours that was learnt first, until no known pair is left (Sennrich et al., 2016).
// Threads: immutable once made.
class BytePairs {
 public:
  // Errors: invalid_argument naming the field, for example for a merge of tokens that the vocabulary lacks; unsupported
  // for options of other families (dropout, byte_fallback, sub-word prefixes and suffixes).
  static Result<BytePairs> from_json(const JsonField& model, const Vocabulary& vocabulary);

  void tokenize(std::u32string_view text, Range word, std::vector<Token>& out) const;

 private:
  struct Merge {
    std::uint32_t rank = 0;
    TokenId id = 0;
  };

  Status add_merge(const JsonField& field, std::uint32_t rank, const Vocabulary& vocabulary);
  void start_symbols(std::u32string_view text, Range word, std::vector<Token>& out) const;
  const Merge* merge_of(TokenId left, TokenId right) const {
    return merges_.find(static_cast<std::uint64_t>(left) << 32 | right);
  }

  FlatMap<TokenId> characters_;
  FlatMap<Merge> merges_;
  std::optional<TokenId> unknown_;
  bool fuse_unknown_ = false;
};

}  // namespace thaw::onnx
