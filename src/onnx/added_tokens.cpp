#include "onnx/added_tokens.h"

#include <fmt/format.h>
#include <algorithm>

#include "onnx/unicode.h"

namespace thaw::onnx {
namespace {

constexpr std::size_t kAddedTokensMax = 100'000;

std::uint64_t edge(std::uint32_t node, char32_t c) { return static_cast<std::uint64_t>(node) << 21 | c; }

}  // namespace

Status TokenMatcher::add(AddedToken token) {
  if (token.content.empty()) return {};
  std::uint32_t node = 0;
  for (const char32_t c : token.content) {
    bool is_new = false;
    const auto next = static_cast<std::uint32_t>(ends_.size());
    node = edges_.insert(edge(node, c), next, &is_new);
    if (is_new) ends_.push_back(0);
  }
  const char32_t first = token.content.front();
  if (first < ascii_starts_.size()) {
    ascii_starts_[first] = true;
  } else {
    other_starts_ = true;
  }
  tokens_.push_back(std::move(token));
  ends_[node] = static_cast<std::uint32_t>(tokens_.size());
  return {};
}

std::uint32_t TokenMatcher::longest_at(std::u32string_view text, std::size_t at, std::size_t& end) const {
  std::uint32_t found = 0;
  std::uint32_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const std::uint32_t* next = edges_.find(edge(node, text[i]));
    if (next == nullptr) break;
    node = *next;
    if (ends_[node] != 0) {
      found = ends_[node];
      end = i + 1;
    }
  }
  return found;
}

void TokenMatcher::split(std::u32string_view text, std::vector<Match>& out) const {
  out.clear();
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size() && !tokens_.empty();) {
    const char32_t c = text[at];
    std::size_t end = at;
    const std::uint32_t found =
        (c < ascii_starts_.size() ? ascii_starts_[c] : other_starts_) ? longest_at(text, at, end) : 0;
    if (found == 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[found - 1];
    std::size_t begin = at;
    at = end;
    if (token.single_word &&
        ((begin > 0 && is_word_character(text[begin - 1])) || (end < text.size() && is_word_character(text[end])))) {
      continue;
    }
    if (token.left_strip) {
      while (begin > done && is_white_space(text[begin - 1])) --begin;
    }
    if (token.right_strip) {
      while (end < text.size() && is_white_space(text[end])) ++end;
    }
    // White space that an earlier token took cannot be taken again.
    begin = std::max(begin, done);
    if (begin > done) out.push_back({done, begin, std::nullopt});
    out.push_back({begin, end, token.id});
    done = end;
    at = std::max(at, done);
  }
  if (done < text.size()) out.push_back({done, text.size(), std::nullopt});
}

Result<AddedTokens> AddedTokens::from_json(const JsonField& field, const Normalizer& normalizer,
                                           Vocabulary& vocabulary) {
  AddedTokens added;
  if (field.is_null()) return added;
  ASSIGN_OR_RETURN(const boost::json::array* elements, field.array());
  if (elements->size() > kAddedTokensMax) {
    return field.must_be(fmt::format("an array of at most {} elements", kAddedTokensMax));
  }
  for (std::size_t i = 0; i < elements->size(); ++i) {
    const JsonField element = field.element(i);
    AddedToken token;
    ASSIGN_OR_RETURN(const JsonField content_field, element.required("content"));
    ASSIGN_OR_RETURN(const std::string_view content, content_field.string());
    ASSIGN_OR_RETURN(const JsonField id_field, element.required("id"));
    ASSIGN_OR_RETURN(const std::uint64_t id, id_field.unsigned_number(kTokenIdMax));
    token.id = static_cast<TokenId>(id);
    if (content.empty()) return content_field.must_be("a string that is not empty");
    const std::optional<TokenId> known = vocabulary.find(content);
    if (!known) {
      RETURN_IF_ERROR(vocabulary.add(content, token.id, element.path()));
    } else if (*known != token.id) {
      return invalid_argument(fmt::format("{} is {}, but the vocabulary gives '{}' the id {}", id_field.path(), id,
                                          content.substr(0, 64), *known));
    }
    ASSIGN_OR_RETURN(const bool special, element.boolean_or("special", false));
    ASSIGN_OR_RETURN(token.single_word, element.boolean_or("single_word", false));
    ASSIGN_OR_RETURN(token.left_strip, element.boolean_or("lstrip", false));
    ASSIGN_OR_RETURN(token.right_strip, element.boolean_or("rstrip", false));
    ASSIGN_OR_RETURN(token.normalized, element.boolean_or("normalized", !special));
    ASSIGN_OR_RETURN(token.content, decode_utf8(content));
    if (token.normalized && !normalizer.empty()) {
      AlignedText text;
      text.assign(token.content, 0);
      normalizer.apply(text);
      token.content = text.chars;
    }
    if (token.left_strip || token.right_strip) {
      added.stripping.push_back({token.id, static_cast<std::uint32_t>(token.content.size()), token.left_strip});
    }
    TokenMatcher& matcher = token.normalized ? added.normalized : added.raw;
    RETURN_IF_ERROR(matcher.add(std::move(token)));
  }
  return added;
}

}  // namespace thaw::onnx
