#include <fmt/format.h>

#include "onnx/token_model.h"
#include "onnx/unicode.h"

namespace thaw::onnx {
namespace {

std::uint64_t edge(std::uint32_t node, char32_t c) { return static_cast<std::uint64_t>(node) << 21 | c; }

}  // namespace

Result<WordPiece> WordPiece::create(const Vocabulary& vocabulary, const Options& options, std::string_view document) {
  WordPiece model;
  model.word_characters_max_ = options.word_characters_max;
  const std::optional<TokenId> unknown = vocabulary.find(options.unknown_token);
  if (!unknown) {
    return invalid_argument(
        fmt::format("{}: the unknown token '{}' is not in the vocabulary", document, options.unknown_token));
  }
  model.unknown_ = *unknown;
  model.edges_ = FlatMap<std::uint32_t>(vocabulary.size() * 3);
  for (const auto& [token, id] : vocabulary.ids()) {
    auto decoded = decode_utf8(token);
    if (!decoded.ok())
      return invalid_argument(fmt::format("{}: token {} is {}", document, id, decoded.error().message));
    model.insert(kRootFirst, *decoded, id);
    if (token.starts_with(options.continuing_prefix)) {
      const std::string_view rest = std::string_view(token).substr(options.continuing_prefix.size());
      ASSIGN_OR_RETURN(const std::u32string piece, decode_utf8(rest));
      model.insert(kRootContinue, piece, id);
    }
  }
  return model;
}

Result<WordPiece> WordPiece::from_json(const JsonField& model, const Vocabulary& vocabulary) {
  Options options;
  ASSIGN_OR_RETURN(options.unknown_token, model.string_or("unk_token", options.unknown_token));
  ASSIGN_OR_RETURN(options.continuing_prefix, model.string_or("continuing_subword_prefix", options.continuing_prefix));
  ASSIGN_OR_RETURN(const JsonField length, model.member("max_input_chars_per_word"));
  if (!length.is_null()) {
    ASSIGN_OR_RETURN(options.word_characters_max, length.unsigned_number(1'000'000));
  }
  return create(vocabulary, options, model.path());
}

void WordPiece::insert(std::uint32_t root, std::u32string_view piece, TokenId id) {
  if (piece.empty()) return;
  std::uint32_t node = root;
  for (const char32_t c : piece) {
    bool is_new = false;
    const auto next = static_cast<std::uint32_t>(tokens_.size());
    node = edges_.insert(edge(node, c), next, &is_new);
    if (is_new) tokens_.push_back(kNoToken);
  }
  tokens_[node] = id;
}

void WordPiece::tokenize(std::u32string_view text, Range word, std::vector<Token>& out) const {
  const auto whole = Token{unknown_, static_cast<std::uint32_t>(word.begin), static_cast<std::uint32_t>(word.end)};
  if (word.end - word.begin > word_characters_max_) {
    out.push_back(whole);
    return;
  }
  const std::size_t out_size = out.size();
  std::uint32_t root = kRootFirst;
  for (std::size_t begin = word.begin; begin < word.end; root = kRootContinue) {
    Token longest{kNoToken, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(begin)};
    std::uint32_t node = root;
    for (std::size_t i = begin; i < word.end; ++i) {
      const std::uint32_t* next = edges_.find(edge(node, text[i]));
      if (next == nullptr) break;
      node = *next;
      if (tokens_[node] != kNoToken) {
        longest.id = tokens_[node];
        longest.end = static_cast<std::uint32_t>(i + 1);
      }
    }
    if (longest.id == kNoToken) {
      out.resize(out_size);
      out.push_back(whole);
      return;
    }
    out.push_back(longest);
    begin = longest.end;
  }
}

}  // namespace thaw::onnx
