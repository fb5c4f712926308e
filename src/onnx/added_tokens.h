// Tokens that are found in the text as they stand, before anything else looks at it: "[SEP]", "<mask>", and whatever a
// model's makers added to its vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "onnx/flat_map.h"
#include "onnx/json_field.h"
#include "onnx/normalizer.h"
#include "onnx/vocabulary.h"

namespace thaw::onnx {

struct AddedToken {
  std::u32string content;
  TokenId id = 0;
  bool single_word = false;  // only where no word character touches it
  bool left_strip = false;   // takes the white space before it
  bool right_strip = false;  // and after it
  bool normalized = true;    // looked for in the normalised text, itself normalised
};

// Leftmost matches, the longest where several begin. Threads: immutable once made.
class TokenMatcher {
 public:
  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::optional<TokenId> id;  // absent for the text between tokens
  };

  Status add(AddedToken token);
  bool empty() const { return tokens_.empty(); }
  // Cuts the whole text into matches and what lies between; none is empty.
  void split(std::u32string_view text, std::vector<Match>& out) const;

 private:
  std::uint32_t longest_at(std::u32string_view text, std::size_t at, std::size_t& end) const;

  FlatMap<std::uint32_t> edges_;
  std::vector<std::uint32_t> ends_{0};  // for each node 1 + the index of the token that ends there, or 0
  std::vector<AddedToken> tokens_;
  std::array<bool, 128> ascii_starts_{};
  bool other_starts_ = false;
};

struct AddedTokens {
  TokenMatcher raw;
  TokenMatcher normalized;
  // Tokens whose match may hold white space beside their own characters.
  struct Stripping {
    TokenId id = 0;
    std::uint32_t characters = 0;  // their own
    bool left = false;
  };
  std::vector<Stripping> stripping;

  // field: the document's "added_tokens"; adds tokens that are new to the vocabulary. Errors: invalid_argument naming
  // the field, for example for an id that differs from the vocabulary's.
  static Result<AddedTokens> from_json(const JsonField& field, const Normalizer& normalizer, Vocabulary& vocabulary);
};

}  // namespace thaw::onnx
