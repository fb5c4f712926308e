#include "onnx/pre_tokenizer.h"

#include <fmt/format.h>
#include <algorithm>
#include <array>

#include "onnx/unicode.h"

namespace thaw::onnx {
namespace {

constexpr std::array<char32_t, 256> make_byte_characters() {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    table[byte] = printable ? static_cast<char32_t>(byte) : next++;
  }
  return table;
}
constexpr std::array<char32_t, 256> kByteCharacters = make_byte_characters();

enum class CharClass { space, single, run };

// Cuts every word where the class changes; spaces vanish, singles stand alone, the rest makes runs.
template <class Classify>
void cut(const AlignedText& text, std::vector<Range>& words, Classify classify) {
  std::vector<Range> out;
  out.reserve(words.size() * 2 + text.chars.size() / 4);
  for (const Range word : words) {
    std::size_t begin = word.begin;
    for (std::size_t i = word.begin; i < word.end; ++i) {
      const CharClass kind = classify(text.chars[i]);
      if (kind == CharClass::run) continue;
      if (begin < i) out.push_back({begin, i});
      if (kind == CharClass::single) out.push_back({i, i + 1});
      begin = i + 1;
    }
    if (begin < word.end) out.push_back({begin, word.end});
  }
  words = std::move(out);
}

// Cuts every word into runs of characters of one class; runs of class 0 vanish.
template <class Classify>
void cut_runs(const AlignedText& text, std::vector<Range>& words, Classify classify) {
  std::vector<Range> out;
  for (const Range word : words) {
    for (std::size_t begin = word.begin; begin < word.end;) {
      const int kind = classify(text.chars[begin]);
      std::size_t end = begin + 1;
      while (end < word.end && classify(text.chars[end]) == kind) ++end;
      if (kind != 0) out.push_back({begin, end});
      begin = end;
    }
  }
  words = std::move(out);
}

CharClass bert_class(char32_t c) {
  if (c < 0x80) {
    if ((c | 0x20) - 'a' < 26 || (c >= '0' && c <= '9')) return CharClass::run;
  }
  if (is_white_space(c)) return CharClass::space;
  return is_punctuation(c) ? CharClass::single : CharClass::run;
}

// The length of an English contraction at `at` ('s, 't, 're, 've, 'm, 'll, 'd), or 0.
std::size_t contraction(std::u32string_view text, std::size_t at) {
  if (text[at] != '\'' || at + 1 >= text.size()) return 0;
  const char32_t c = text[at + 1];
  if (c == 's' || c == 't' || c == 'm' || c == 'd') return 2;
  if (at + 2 >= text.size()) return 0;
  const char32_t d = text[at + 2];
  return ((c == 'r' || c == 'v') && d == 'e') || (c == 'l' && d == 'l') ? 3 : 0;
}

// GPT-2's pattern, matched by hand:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// Every character belongs to exactly one match. Returns the end of the match that begins at `at`.
std::size_t gpt2_match(std::u32string_view text, std::size_t at) {
  enum class Kind { space, letter, number, other };
  const auto kind_of = [](char32_t c) {
    if (is_letter(c)) return Kind::letter;
    if (is_number(c)) return Kind::number;
    return is_white_space(c) ? Kind::space : Kind::other;
  };
  if (const std::size_t length = contraction(text, at); length > 0) return at + length;
  std::size_t first = at;
  if (text[at] == ' ' && at + 1 < text.size() && kind_of(text[at + 1]) != Kind::space) ++first;
  const Kind kind = kind_of(text[first]);
  std::size_t end = first + 1;
  while (end < text.size() && kind_of(text[end]) == kind) ++end;
  // White space before a word leaves its last character to the word (or, if that is no plain space, on its own).
  if (kind == Kind::space && end < text.size() && end - at > 1) --end;
  return end;
}

void apply_byte_level(const PreTokenizer::ByteLevel& options, AlignedText& text, std::vector<Range>& words) {
  AlignedText out;
  std::vector<Range> out_words;
  out.chars.reserve(text.chars.size() + words.size());
  out.spans.reserve(text.chars.size() + words.size());
  std::string bytes;
  std::u32string piece;
  std::vector<Span> spans;
  for (const Range word : words) {
    piece.assign(text.chars, word.begin, word.end - word.begin);
    spans.assign(text.spans.begin() + static_cast<std::ptrdiff_t>(word.begin),
                 text.spans.begin() + static_cast<std::ptrdiff_t>(word.end));
    if (options.add_prefix_space && piece.front() != ' ') {
      piece.insert(piece.begin(), ' ');
      spans.insert(spans.begin(), spans.front());
    }
    for (std::size_t begin = 0; begin < piece.size();) {
      const std::size_t end = options.use_regex ? gpt2_match(piece, begin) : piece.size();
      const std::size_t out_begin = out.chars.size();
      for (std::size_t i = begin; i < end; ++i) {
        bytes.clear();
        append_utf8(piece[i], bytes);
        for (const char byte : bytes) out.push(kByteCharacters[static_cast<unsigned char>(byte)], spans[i]);
      }
      out_words.push_back({out_begin, out.chars.size()});
      begin = end;
    }
  }
  text = std::move(out);
  words = std::move(out_words);
}

}  // namespace

char32_t byte_character(unsigned char byte) { return kByteCharacters[byte]; }

Result<PreTokenizer> PreTokenizer::from_json(const JsonField& field) {
  PreTokenizer pre_tokenizer;
  if (!field.is_null()) RETURN_IF_ERROR(add_from_json(field, pre_tokenizer.steps_));
  return pre_tokenizer;
}

Status PreTokenizer::add_from_json(const JsonField& field, std::vector<Step>& steps) {
  ASSIGN_OR_RETURN(const JsonField type_field, field.required("type"));
  ASSIGN_OR_RETURN(const std::string_view type, type_field.string());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonField list, field.required("pretokenizers"));
    ASSIGN_OR_RETURN(const boost::json::array* elements, list.array());
    for (std::size_t i = 0; i < elements->size(); ++i) RETURN_IF_ERROR(add_from_json(list.element(i), steps));
    return {};
  }
  if (type == "BertPreTokenizer") {
    steps.emplace_back(Bert{});
  } else if (type == "ByteLevel") {
    ByteLevel options;
    ASSIGN_OR_RETURN(options.add_prefix_space, field.boolean_or("add_prefix_space", std::nullopt));
    ASSIGN_OR_RETURN(options.use_regex, field.boolean_or("use_regex", true));
    steps.emplace_back(options);
  } else if (type == "WhitespaceSplit") {
    steps.emplace_back(WhitespaceSplit{});
  } else if (type == "Whitespace") {
    steps.emplace_back(Whitespace{});
  } else if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const std::string behavior, field.string_or("behavior", "Isolated"));
    if (behavior != "Isolated") {
      return Error{ErrorKind::unsupported,
                   fmt::format("{}.behavior: '{}' is not supported, only 'Isolated'", field.path(), behavior)};
    }
    steps.emplace_back(Punctuation{});
  } else if (type == "Digits") {
    Digits options;
    ASSIGN_OR_RETURN(options.individual, field.boolean_or("individual_digits", false));
    steps.emplace_back(options);
  } else {
    return Error{ErrorKind::unsupported,
                 fmt::format("{}: pre-tokenizer '{}' is not one that thaw-onnx knows", type_field.path(), type)};
  }
  return {};
}

void PreTokenizer::apply(AlignedText& text, std::vector<Range>& words) const {
  words.clear();
  if (!text.chars.empty()) words.push_back({0, text.chars.size()});
  for (const Step& step : steps_) {
    if (std::holds_alternative<Bert>(step)) {
      cut(text, words, bert_class);
    } else if (const auto* options = std::get_if<ByteLevel>(&step)) {
      apply_byte_level(*options, text, words);
    } else if (std::holds_alternative<WhitespaceSplit>(step)) {
      cut(text, words, [](char32_t c) { return is_white_space(c) ? CharClass::space : CharClass::run; });
    } else if (std::holds_alternative<Whitespace>(step)) {
      cut_runs(text, words, [](char32_t c) { return is_word_character(c) ? 1 : (is_white_space(c) ? 0 : 2); });
    } else if (std::holds_alternative<Punctuation>(step)) {
      cut(text, words, [](char32_t c) { return is_punctuation(c) ? CharClass::single : CharClass::run; });
    } else if (const auto* digits = std::get_if<Digits>(&step)) {
      if (digits->individual) {
        cut(text, words, [](char32_t c) { return is_number(c) ? CharClass::single : CharClass::run; });
      } else {
        cut_runs(text, words, [](char32_t c) { return is_number(c) ? 1 : 2; });
      }
    }
  }
}

}  // namespace thaw::onnx
