#include "onnx/normalizer.h"

#include <fmt/format.h>

#include "onnx/unicode.h"

namespace thaw::onnx {
namespace {

void clean(AlignedText& text) {
  keep_characters(text, [](char32_t c) { return c != 0 && c != 0xFFFD && !is_dropped_control(c); });
  for (char32_t& c : text.chars) {
    if (is_white_space(c)) c = ' ';
  }
}

// A space on both sides of every ideograph; all three stand for the ideograph.
void isolate_ideographs(AlignedText& text) {
  std::size_t first = 0;
  while (first < text.chars.size() && !is_cjk_ideograph(text.chars[first])) ++first;
  if (first == text.chars.size()) return;
  AlignedText out;
  for (std::size_t i = 0; i < text.chars.size(); ++i) {
    const bool isolate = is_cjk_ideograph(text.chars[i]);
    if (isolate) out.push(' ', text.spans[i]);
    out.push(text.chars[i], text.spans[i]);
    if (isolate) out.push(' ', text.spans[i]);
  }
  text = std::move(out);
}

void apply_bert(const Normalizer::Bert& options, AlignedText& text) {
  if (options.clean_text) clean(text);
  if (options.handle_chinese_chars) isolate_ideographs(text);
  if (options.strip_accents) {
    normalize_form(text, NormalForm::nfd);
    keep_characters(text, [](char32_t c) { return !is_nonspacing_mark(c); });
  }
  if (options.lowercase) lower_case(text);
}

void strip(AlignedText& text, std::size_t begin, std::size_t end) {
  text.chars = text.chars.substr(begin, end - begin);
  text.spans.erase(text.spans.begin() + static_cast<std::ptrdiff_t>(end), text.spans.end());
  text.spans.erase(text.spans.begin(), text.spans.begin() + static_cast<std::ptrdiff_t>(begin));
}

}  // namespace

Result<Normalizer> Normalizer::from_json(const JsonField& field) {
  Normalizer normalizer;
  if (!field.is_null()) RETURN_IF_ERROR(add_from_json(field, normalizer.steps_));
  return normalizer;
}

Status Normalizer::add_from_json(const JsonField& field, std::vector<Step>& steps) {
  ASSIGN_OR_RETURN(const JsonField type_field, field.required("type"));
  ASSIGN_OR_RETURN(const std::string_view type, type_field.string());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonField list, field.required("normalizers"));
    ASSIGN_OR_RETURN(const boost::json::array* elements, list.array());
    for (std::size_t i = 0; i < elements->size(); ++i) RETURN_IF_ERROR(add_from_json(list.element(i), steps));
    return {};
  }
  if (type == "BertNormalizer") {
    Bert bert;
    ASSIGN_OR_RETURN(bert.clean_text, field.boolean_or("clean_text", std::nullopt));
    ASSIGN_OR_RETURN(bert.handle_chinese_chars, field.boolean_or("handle_chinese_chars", std::nullopt));
    ASSIGN_OR_RETURN(bert.lowercase, field.boolean_or("lowercase", std::nullopt));
    ASSIGN_OR_RETURN(bert.strip_accents, field.boolean_or("strip_accents", bert.lowercase));
    steps.emplace_back(bert);
  } else if (type == "NFC") {
    steps.emplace_back(NormalForm::nfc);
  } else if (type == "NFD") {
    steps.emplace_back(NormalForm::nfd);
  } else if (type == "NFKC") {
    steps.emplace_back(NormalForm::nfkc);
  } else if (type == "NFKD") {
    steps.emplace_back(NormalForm::nfkd);
  } else if (type == "Lowercase") {
    steps.emplace_back(Lowercase{});
  } else if (type == "StripAccents") {
    steps.emplace_back(StripAccents{});
  } else if (type == "Strip") {
    Strip options;
    ASSIGN_OR_RETURN(options.left, field.boolean_or("strip_left", std::nullopt));
    ASSIGN_OR_RETURN(options.right, field.boolean_or("strip_right", std::nullopt));
    steps.emplace_back(options);
  } else {
    return Error{ErrorKind::unsupported,
                 fmt::format("{}: normalizer '{}' is not one that thaw-onnx knows", type_field.path(), type)};
  }
  return {};
}

void Normalizer::apply(AlignedText& text) const {
  for (const Step& step : steps_) {
    if (const auto* bert = std::get_if<Bert>(&step)) {
      apply_bert(*bert, text);
    } else if (const auto* form = std::get_if<NormalForm>(&step)) {
      normalize_form(text, *form);
    } else if (std::holds_alternative<Lowercase>(step)) {
      lower_case(text);
    } else if (std::holds_alternative<StripAccents>(step)) {
      keep_characters(text, [](char32_t c) { return !is_mark(c); });
    } else if (const auto* options = std::get_if<Strip>(&step)) {
      std::size_t begin = 0;
      std::size_t end = text.chars.size();
      while (options->left && begin < end && is_white_space(text.chars[begin])) ++begin;
      while (options->right && end > begin && is_white_space(text.chars[end - 1])) --end;
      strip(text, begin, end);
    }
  }
}

}  // namespace thaw::onnx
