#include <fmt/format.h>
#include <algorithm>
#include <queue>

#include "onnx/token_model.h"
#include "onnx/unicode.h"

namespace thaw::onnx {
namespace {

constexpr std::uint32_t kMergesMax = 4'000'000;
constexpr std::uint32_t kNone = ~std::uint32_t{0};

// A symbol of the word in a list by position; a joined one takes over its left part's place.
struct Symbol {
  Token token;
  std::uint32_t previous = kNone;
  std::uint32_t next = kNone;
  bool gone = false;
};

// A pair that may be joined: valid while the symbol at `left` and its neighbour are still what they were.
struct Candidate {
  std::uint32_t rank = 0;
  std::uint32_t left = 0;
  TokenId left_id = 0;
  TokenId right_id = 0;
  TokenId id = 0;
};
struct Later {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
};

Status refuse_unless_absent(const JsonField& model, std::string_view name) {
  ASSIGN_OR_RETURN(const JsonField field, model.member(name));
  if (field.is_null()) return {};
  if (const auto text = field.string(); text.ok() && text->empty()) return {};
  if (const auto flag = field.boolean(); flag.ok() && !*flag) return {};
  return Error{ErrorKind::unsupported, field.path() + " is not supported"};
}

}  // namespace

Result<BytePairs> BytePairs::from_json(const JsonField& model, const Vocabulary& vocabulary) {
  for (const char* name :
       {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"}) {
    RETURN_IF_ERROR(refuse_unless_absent(model, name));
  }
  BytePairs pairs;
  ASSIGN_OR_RETURN(pairs.fuse_unknown_, model.boolean_or("fuse_unk", false));
  ASSIGN_OR_RETURN(const std::string unknown, model.string_or("unk_token", ""));
  if (!unknown.empty()) {
    pairs.unknown_ = vocabulary.find(unknown);
    if (!pairs.unknown_)
      return invalid_argument(fmt::format("{}.unk_token: '{}' is not in the vocabulary", model.path(), unknown));
  }
  for (const auto& [token, id] : vocabulary.ids()) {
    if (token.size() > 4) continue;
    auto decoded = decode_utf8(token);
    if (!decoded.ok())
      return invalid_argument(fmt::format("{}.vocab: token {} is {}", model.path(), id, decoded.error().message));
    if (decoded->size() == 1) pairs.characters_.insert(decoded->front(), id);
  }
  ASSIGN_OR_RETURN(const JsonField merges, model.required("merges"));
  ASSIGN_OR_RETURN(const boost::json::array* elements, merges.array());
  if (elements->size() > kMergesMax) return merges.must_be(fmt::format("an array of at most {} elements", kMergesMax));
  pairs.merges_ = FlatMap<Merge>(elements->size());
  for (std::uint32_t rank = 0; rank < elements->size(); ++rank) {
    RETURN_IF_ERROR(pairs.add_merge(merges.element(rank), rank, vocabulary));
  }
  return pairs;
}

// field: "left right", or ["left", "right"].
Status BytePairs::add_merge(const JsonField& field, std::uint32_t rank, const Vocabulary& vocabulary) {
  std::string_view left;
  std::string_view right;
  if (const auto pair = field.array(); pair.ok()) {
    if ((*pair)->size() != 2) return field.must_be("a pair of tokens");
    ASSIGN_OR_RETURN(left, field.element(0).string());
    ASSIGN_OR_RETURN(right, field.element(1).string());
  } else {
    ASSIGN_OR_RETURN(const std::string_view text, field.string());
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      return field.must_be("two tokens with a space between");
    }
    left = text.substr(0, space);
    right = text.substr(space + 1);
  }
  const std::string joined = std::string(left).append(right);
  const auto left_id = vocabulary.find(left);
  const auto right_id = vocabulary.find(right);
  const auto joined_id = vocabulary.find(joined);
  if (!left_id || !right_id || !joined_id) {
    const std::string_view missing = !left_id ? left : !right_id ? right : std::string_view(joined);
    return invalid_argument(
        fmt::format("{}: the token '{}' is not in model.vocab", field.path(), missing.substr(0, 64)));
  }
  // Of a pair that is there twice the later one counts, as in the library that writes these files.
  merges_.insert(static_cast<std::uint64_t>(*left_id) << 32 | *right_id, {}) = {rank, *joined_id};
  return {};
}

void BytePairs::start_symbols(std::u32string_view text, Range word, std::vector<Token>& out) const {
  bool last_unknown = false;
  for (std::size_t i = word.begin; i < word.end; ++i) {
    const auto at = static_cast<std::uint32_t>(i);
    const TokenId* id = characters_.find(text[i]);
    if (id == nullptr) {
      if (!unknown_) continue;
      if (last_unknown && fuse_unknown_) {
        out.back().end = at + 1;
      } else {
        out.push_back({*unknown_, at, at + 1});
      }
      last_unknown = true;
      continue;
    }
    last_unknown = false;
    out.push_back({*id, at, at + 1});
  }
}

void BytePairs::tokenize(std::u32string_view text, Range word, std::vector<Token>& out) const {
  const std::size_t out_size = out.size();
  start_symbols(text, word, out);
  const std::size_t count = out.size() - out_size;
  if (count < 2) return;

  std::vector<Symbol> symbols(count);
  std::priority_queue<Candidate, std::vector<Candidate>, Later> queue;
  const auto consider = [&](std::uint32_t left) {
    const std::uint32_t right = symbols[left].next;
    if (right == kNone) return;
    const TokenId left_id = symbols[left].token.id;
    const TokenId right_id = symbols[right].token.id;
    if (const Merge* merge = merge_of(left_id, right_id)) queue.push({merge->rank, left, left_id, right_id, merge->id});
  };
  for (std::uint32_t i = 0; i < count; ++i) {
    symbols[i] = {out[out_size + i], i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1};
  }
  for (std::uint32_t i = 0; i < count; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.left];
    if (left.gone || left.token.id != best.left_id || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    if (right.token.id != best.right_id) continue;
    left.token.id = best.id;
    left.token.end = right.token.end;
    right.gone = true;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].previous = best.left;
    consider(best.left);
    if (left.previous != kNone) consider(left.previous);
  }
  out.resize(out_size);
  for (const Symbol& symbol : symbols) {
    if (!symbol.gone) out.push_back(symbol.token);
  }
}

}  // namespace thaw::onnx
