#include "onnx/tokenizer.h"

#include <fmt/format.h>
#include <algorithm>

#include "onnx/unicode.h"

namespace thaw::onnx {
namespace {

using What = PairTemplate::What;

// The white space at a token's end that trimming leaves out: the byte character of a space, or a real space.
bool is_trimmed(char32_t c) { return c == byte_character(' ') || is_white_space(c); }

}  // namespace

Result<Tokenizer> Tokenizer::from_json(std::string_view json) {
  ASSIGN_OR_RETURN(const boost::json::value document, parse_json(json, "tokenizer.json"));
  const JsonField root(document, "tokenizer.json: ");
  if (!root.object().ok()) return invalid_argument("tokenizer.json: must be an object");
  Tokenizer tokenizer;

  ASSIGN_OR_RETURN(const JsonField model, root.required("model"));
  ASSIGN_OR_RETURN(const JsonField vocabulary_field, model.required("vocab"));
  ASSIGN_OR_RETURN(const JsonField type_field, model.member("type"));
  std::string type;
  if (type_field.is_null()) {
    // Older files leave the type out; merges tell.
    ASSIGN_OR_RETURN(const JsonField merges, model.member("merges"));
    type = merges.is_null() ? "WordPiece" : "BPE";
  } else {
    ASSIGN_OR_RETURN(type, type_field.string());
  }
  if (type != "WordPiece" && type != "BPE") {
    return Error{ErrorKind::unsupported,
                 fmt::format("{}: '{}' is not supported, only WordPiece and BPE", type_field.path(), type)};
  }
  ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::from_json(vocabulary_field));
  if (type == "WordPiece") {
    ASSIGN_OR_RETURN(tokenizer.model_, WordPiece::from_json(model, vocabulary));
  } else {
    ASSIGN_OR_RETURN(tokenizer.model_, BytePairs::from_json(model, vocabulary));
  }
  ASSIGN_OR_RETURN(const JsonField normalizer, root.member("normalizer"));
  ASSIGN_OR_RETURN(tokenizer.normalizer_, Normalizer::from_json(normalizer));
  ASSIGN_OR_RETURN(const JsonField pre_tokenizer, root.member("pre_tokenizer"));
  ASSIGN_OR_RETURN(tokenizer.pre_tokenizer_, PreTokenizer::from_json(pre_tokenizer));
  ASSIGN_OR_RETURN(const JsonField added, root.member("added_tokens"));
  ASSIGN_OR_RETURN(tokenizer.added_, AddedTokens::from_json(added, tokenizer.normalizer_, vocabulary));

  tokenizer.set_template({{What::first, 0, 0}, {What::second, 0, 1}});
  ASSIGN_OR_RETURN(const JsonField post_processor, root.member("post_processor"));
  RETURN_IF_ERROR(tokenizer.read_post_processor(post_processor, vocabulary));
  tokenizer.keep_from(vocabulary);
  RETURN_IF_ERROR(tokenizer.check_ids());
  return tokenizer;
}

Result<Tokenizer> Tokenizer::from_vocab_txt(std::string_view lines, const VocabTxtOptions& options) {
  ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::from_lines(lines, "vocab.txt"));
  Tokenizer tokenizer;
  ASSIGN_OR_RETURN(tokenizer.model_, WordPiece::create(vocabulary, {}, "vocab.txt"));
  tokenizer.normalizer_ =
      Normalizer(Normalizer::Bert{.clean_text = true,
                                  .handle_chinese_chars = options.handle_chinese_chars,
                                  .strip_accents = options.strip_accents.value_or(options.lowercase),
                                  .lowercase = options.lowercase});
  tokenizer.pre_tokenizer_ = PreTokenizer(PreTokenizer::Bert{});
  for (const char* name : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    const std::optional<TokenId> id = vocabulary.find(name);
    if (!id) continue;
    ASSIGN_OR_RETURN(std::u32string content, decode_utf8(name));
    RETURN_IF_ERROR(tokenizer.added_.raw.add({.content = std::move(content), .id = *id, .normalized = false}));
  }
  const std::optional<TokenId> cls = vocabulary.find("[CLS]");
  const std::optional<TokenId> sep = vocabulary.find("[SEP]");
  if (!cls || !sep) return invalid_argument("vocab.txt: [CLS] and [SEP] must be in it");
  tokenizer.set_template({{What::special, *cls, 0},
                          {What::first, 0, 0},
                          {What::special, *sep, 0},
                          {What::second, 0, 1},
                          {What::special, *sep, 1}});
  tokenizer.keep_from(vocabulary);
  return tokenizer;
}

Status Tokenizer::read_post_processor(const JsonField& field, const Vocabulary& vocabulary) {
  if (field.is_null()) return {};
  ASSIGN_OR_RETURN(const JsonField type_field, field.required("type"));
  ASSIGN_OR_RETURN(const std::string_view type, type_field.string());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonField list, field.required("processors"));
    ASSIGN_OR_RETURN(const boost::json::array* elements, list.array());
    for (std::size_t i = 0; i < elements->size(); ++i) {
      RETURN_IF_ERROR(read_post_processor(list.element(i), vocabulary));
    }
    return {};
  }
  if (type == "TemplateProcessing") return read_template(field);
  if (type == "BertProcessing") return read_fixed_template(field, type, vocabulary);
  if (type == "RobertaProcessing") {
    RETURN_IF_ERROR(read_trim(field));
    return read_fixed_template(field, type, vocabulary);
  }
  if (type == "ByteLevel") return read_trim(field);
  return Error{ErrorKind::unsupported,
               fmt::format("{}: post-processor '{}' is not one that thaw-onnx knows", type_field.path(), type)};
}

Status Tokenizer::read_trim(const JsonField& field) {
  ASSIGN_OR_RETURN(trim_.enabled, field.boolean_or("trim_offsets", std::nullopt));
  ASSIGN_OR_RETURN(trim_.keep_first_space, field.boolean_or("add_prefix_space", std::nullopt));
  return {};
}

Status Tokenizer::read_fixed_template(const JsonField& field, std::string_view type, const Vocabulary& vocabulary) {
  const auto read_token = [&](std::string_view name) -> Result<TokenId> {
    ASSIGN_OR_RETURN(const JsonField pair, field.required(name));
    ASSIGN_OR_RETURN(const boost::json::array* elements, pair.array());
    if (elements->size() != 2) return pair.must_be("a token and its id");
    ASSIGN_OR_RETURN(const std::string_view token, pair.element(0).string());
    ASSIGN_OR_RETURN(const std::uint64_t id, pair.element(1).unsigned_number(kTokenIdMax));
    const std::optional<TokenId> known = vocabulary.find(token);
    if (!known || *known != id) {
      return invalid_argument(
          fmt::format("{}: '{}' does not have the id {} in the vocabulary", pair.path(), token.substr(0, 64), id));
    }
    return static_cast<TokenId>(id);
  };
  ASSIGN_OR_RETURN(const TokenId cls, read_token("cls"));
  ASSIGN_OR_RETURN(const TokenId sep, read_token("sep"));
  if (type == "BertProcessing") {
    set_template({{What::special, cls, 0},
                  {What::first, 0, 0},
                  {What::special, sep, 0},
                  {What::second, 0, 1},
                  {What::special, sep, 1}});
  } else {
    set_template({{What::special, cls, 0},
                  {What::first, 0, 0},
                  {What::special, sep, 0},
                  {What::special, sep, 0},
                  {What::second, 0, 0},
                  {What::special, sep, 0}});
  }
  return {};
}

Status Tokenizer::read_template(const JsonField& field) {
  ASSIGN_OR_RETURN(const JsonField pair, field.required("pair"));
  ASSIGN_OR_RETURN(const boost::json::array* elements, pair.array());
  if (elements->size() > 64) return pair.must_be("an array of at most 64 elements");
  ASSIGN_OR_RETURN(const JsonField specials, field.required("special_tokens"));
  std::vector<PairTemplate::Part> parts;
  int firsts = 0;
  int seconds = 0;
  for (std::size_t i = 0; i < elements->size(); ++i) {
    const JsonField element = pair.element(i);
    ASSIGN_OR_RETURN(const JsonField special, element.member("SpecialToken"));
    ASSIGN_OR_RETURN(const JsonField part,
                     special.is_null() ? element.required("Sequence") : Result<JsonField>(special));
    ASSIGN_OR_RETURN(const JsonField id_field, part.required("id"));
    ASSIGN_OR_RETURN(const std::string_view id, id_field.string());
    ASSIGN_OR_RETURN(const JsonField type_field, part.required("type_id"));
    ASSIGN_OR_RETURN(const std::uint64_t type_id, type_field.unsigned_number(1'000));
    const auto type = static_cast<std::uint32_t>(type_id);
    if (special.is_null()) {
      if (id != "A" && id != "B") return id_field.must_be("'A' or 'B'");
      ++(id == "A" ? firsts : seconds);
      parts.push_back({id == "A" ? What::first : What::second, 0, type});
      continue;
    }
    ASSIGN_OR_RETURN(const JsonField token, specials.required(id));
    ASSIGN_OR_RETURN(const JsonField ids, token.required("ids"));
    ASSIGN_OR_RETURN(const boost::json::array* id_elements, ids.array());
    if (id_elements->size() > 64) return ids.must_be("an array of at most 64 elements");
    for (std::size_t j = 0; j < id_elements->size(); ++j) {
      ASSIGN_OR_RETURN(const std::uint64_t number, ids.element(j).unsigned_number(kTokenIdMax));
      parts.push_back({What::special, static_cast<TokenId>(number), type});
    }
  }
  if (firsts != 1 || seconds != 1) return pair.must_be("a template with A and B once each");
  set_template(std::move(parts));
  return {};
}

void Tokenizer::set_template(std::vector<PairTemplate::Part> parts) {
  pair_.special_count = static_cast<std::size_t>(
      std::count_if(parts.begin(), parts.end(), [](const auto& part) { return part.what == What::special; }));
  pair_.parts = std::move(parts);
}

void Tokenizer::keep_from(const Vocabulary& vocabulary) {
  id_end_ = vocabulary.id_end();
  if (trim_.enabled) {
    ends_.resize(id_end_);
    for (const auto& [token, id] : vocabulary.ids()) {
      const auto decoded = decode_utf8(token);
      if (!decoded.ok()) continue;
      const auto count = [](auto begin, auto end) {
        return static_cast<std::uint8_t>(
            std::min<std::ptrdiff_t>(255, std::find_if_not(begin, end, is_trimmed) - begin));
      };
      ends_[id] = {count(decoded->begin(), decoded->end()), count(decoded->rbegin(), decoded->rend())};
    }
  }
  for (const char* name : {"[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", "<s>", "</s>", "<pad>", "<unk>", "<mask>"}) {
    if (const auto id = vocabulary.find(name)) special_ids_.emplace_back(name, *id);
  }
}

Status Tokenizer::check_ids() const {
  for (const PairTemplate::Part& part : pair_.parts) {
    if (part.what == What::special && part.id >= id_end_) {
      return invalid_argument(
          fmt::format("tokenizer.json: post_processor: the id {} is not in the vocabulary", part.id));
    }
  }
  return {};
}

std::optional<TokenId> Tokenizer::special_id(std::string_view token) const {
  for (const auto& [name, id] : special_ids_) {
    if (name == token) return id;
  }
  return std::nullopt;
}

Encoding Tokenizer::encode(std::u32string_view text) const {
  Encoding out;
  out.ids.reserve(text.size() / 3 + 8);
  out.offsets.reserve(text.size() / 3 + 8);
  out.words.reserve(text.size() / 3 + 8);
  std::vector<Range> words;
  std::vector<Token> tokens;
  std::uint32_t word = 0;
  if (added_.raw.empty()) {
    encode_plain(text, 0, word, out, words, tokens);
    return out;
  }
  std::vector<TokenMatcher::Match> matches;
  added_.raw.split(text, matches);
  for (const TokenMatcher::Match& match : matches) {
    if (match.id) {
      out.push(*match.id, {static_cast<std::uint32_t>(match.begin), static_cast<std::uint32_t>(match.end)}, word++);
    } else {
      encode_plain(text.substr(match.begin, match.end - match.begin), static_cast<std::uint32_t>(match.begin), word,
                   out, words, tokens);
    }
  }
  return out;
}

void Tokenizer::encode_plain(std::u32string_view text, std::uint32_t first_index, std::uint32_t& word, Encoding& out,
                             std::vector<Range>& words, std::vector<Token>& tokens) const {
  AlignedText aligned;
  aligned.assign(text, first_index);
  normalizer_.apply(aligned);
  if (added_.normalized.empty()) {
    encode_words(aligned, word, out, words, tokens);
    return;
  }
  std::vector<TokenMatcher::Match> matches;
  added_.normalized.split(aligned.chars, matches);
  if (matches.size() == 1 && !matches.front().id) {
    encode_words(aligned, word, out, words, tokens);
    return;
  }
  AlignedText piece;
  for (const TokenMatcher::Match& match : matches) {
    if (match.id) {
      out.push(*match.id, aligned.span_of(match.begin, match.end), word++);
      continue;
    }
    piece.chars.assign(aligned.chars, match.begin, match.end - match.begin);
    piece.spans.assign(aligned.spans.begin() + static_cast<std::ptrdiff_t>(match.begin),
                       aligned.spans.begin() + static_cast<std::ptrdiff_t>(match.end));
    encode_words(piece, word, out, words, tokens);
  }
}

void Tokenizer::encode_words(AlignedText& text, std::uint32_t& word, Encoding& out, std::vector<Range>& words,
                             std::vector<Token>& tokens) const {
  pre_tokenizer_.apply(text, words);
  for (const Range range : words) {
    tokens.clear();
    std::visit([&](const auto& model) { model.tokenize(text.chars, range, tokens); }, model_);
    for (const Token& token : tokens) out.push(token.id, text.span_of(token.begin, token.end), word);
    ++word;
  }
}

Span Tokenizer::trimmed_offset(TokenId id, Span offset, std::size_t index) const {
  if (!trim_.enabled || id >= ends_.size()) return offset;
  std::uint32_t leading = ends_[id].leading;
  std::uint32_t trailing = ends_[id].trailing;
  for (const AddedTokens::Stripping& token : added_.stripping) {
    if (token.id != id) continue;
    const std::uint32_t extra = offset.end - offset.begin - std::min(token.characters, offset.end - offset.begin);
    (token.left ? leading : trailing) += extra;
  }
  if (leading > 0) {
    if ((index == 0 || offset.begin == 0) && trim_.keep_first_space) leading = 0;
    offset.begin = std::min(offset.begin + leading, offset.end);
  }
  if (trailing > 0 && offset.end >= trailing) offset.end = std::max(offset.end - trailing, offset.begin);
  return offset;
}

}  // namespace thaw::onnx
