// The tokens of a model and their ids, as a file gives them. Lives while a tokenizer is being built; what encoding
// needs of it the token models keep in their own form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "onnx/json_field.h"

namespace thaw::onnx {

using TokenId = std::uint32_t;
inline constexpr TokenId kTokenIdMax = 4'000'000;
inline constexpr std::size_t kTokenBytesMax = 4096;

class Vocabulary {
 public:
  // {"token": id, ...}. Errors: invalid_argument for ids out of range, and for one id given to two tokens.
  static Result<Vocabulary> from_json(const JsonField& field);
  // One token a line, ids by line number from 0, as BERT's vocab.txt. Errors: invalid_argument for duplicates.
  static Result<Vocabulary> from_lines(std::string_view text, std::string_view document);

  std::optional<TokenId> find(std::string_view token) const;
  // where: the field to name in errors.
  Status add(std::string_view token, TokenId id, std::string_view where);
  const std::unordered_map<std::string, TokenId>& ids() const { return ids_; }
  std::size_t size() const { return ids_.size(); }
  // One more than the largest id.
  TokenId id_end() const { return static_cast<TokenId>(used_.size()); }

 private:
  std::unordered_map<std::string, TokenId> ids_;
  std::vector<bool> used_;
};

}  // namespace thaw::onnx
