#include "onnx/question_answering.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <unordered_map>

#include "onnx/unicode.h"

namespace thaw::onnx {
namespace {

constexpr std::size_t kDefaultSequence = 384;
constexpr std::size_t kDefaultStride = 128;
constexpr std::size_t kSequenceMax = 8192;
constexpr double kNullScoreStart = 1'000'000;

// Whether the model quantises activations as it runs. Then the scale of a value depends on all rows of a run, and rows
// must run one by one for an answer not to depend on its neighbours.
bool quantises_as_it_runs(const std::string& model_path) {
  constexpr std::string_view kMark = "DynamicQuantize";
  std::ifstream in(model_path, std::ios::binary);
  std::string block;
  std::string buffer(1 << 20, '\0');
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), in.gcount() > 0) {
    block.append(buffer, 0, static_cast<std::size_t>(in.gcount()));
    if (block.find(kMark) != std::string::npos) return true;
    block.erase(0, block.size() - std::min(block.size(), kMark.size()));
  }
  return false;
}

std::string describe(const TensorSpec& spec) {
  std::string shape;
  for (const std::int64_t size : spec.shape) shape += fmt::format("{}{}", shape.empty() ? "" : ", ", size);
  return fmt::format("'{}' is {} [{}]", spec.name, to_string(spec.type), shape);
}

Error signature_error(std::string what) {
  return {ErrorKind::unsupported, "the model is not one for question answering: " + std::move(what)};
}

Result<std::u32string> decode_field(std::string_view text, std::string_view name) {
  if (text.empty()) return invalid_argument(fmt::format("{}: must not be empty", name));
  auto decoded = decode_utf8(text);
  if (!decoded.ok()) return invalid_argument(fmt::format("{}: {}", name, decoded.error().message));
  return decoded;
}

}  // namespace

Result<std::unique_ptr<QuestionAnswering>> QuestionAnswering::load(const std::string& folder,
                                                                   const SessionOptions& options) {
  ASSIGN_OR_RETURN(ModelFolder read, read_model_folder(folder));
  const std::string model_path = read.model_path;
  std::unique_ptr<QuestionAnswering> model(new QuestionAnswering(std::move(read)));
  if (!model->config_.architecture.empty() &&
      model->config_.architecture.find("ForQuestionAnswering") == std::string::npos) {
    return signature_error(fmt::format("config.json: architectures names '{}'", model->config_.architecture));
  }
  ASSIGN_OR_RETURN(model->session_, Session::load(model_path, options));
  RETURN_IF_ERROR(model->check_signature());
  RETURN_IF_ERROR(model->check_shapes());
  if (quantises_as_it_runs(model_path)) model->rows_max_ = 1;
  return model;
}

Status QuestionAnswering::check_signature() {
  for (const TensorSpec& spec : session_->inputs()) {
    if (spec.name == "input_ids") {
      inputs_.push_back(Input::input_ids);
    } else if (spec.name == "attention_mask") {
      inputs_.push_back(Input::attention_mask);
    } else if (spec.name == "token_type_ids") {
      inputs_.push_back(Input::token_type_ids);
    } else {
      return signature_error(fmt::format("its input '{}' is not known", spec.name));
    }
    const bool integer = spec.type == ElementType::int64 || spec.type == ElementType::int32;
    if (!integer || spec.shape.size() != 2) {
      return signature_error(fmt::format("its input {}, not int64 [batch, sequence]", describe(spec)));
    }
  }
  if (std::find(inputs_.begin(), inputs_.end(), Input::input_ids) == inputs_.end()) {
    return signature_error("it has no input 'input_ids'");
  }
  const auto& outputs = session_->outputs();
  const auto find = [&](std::string_view name) {
    return static_cast<std::size_t>(
        std::find_if(outputs.begin(), outputs.end(), [&](const TensorSpec& spec) { return spec.name == name; }) -
        outputs.begin());
  };
  start_output_ = find("start_logits");
  end_output_ = find("end_logits");
  if (start_output_ == outputs.size() || end_output_ == outputs.size()) {
    return signature_error("it has no outputs 'start_logits' and 'end_logits'");
  }
  for (const std::size_t index : {start_output_, end_output_}) {
    if (outputs[index].type != ElementType::float32 || outputs[index].shape.size() != 2) {
      return signature_error(fmt::format("its output {}, not float32 [batch, sequence]", describe(outputs[index])));
    }
  }
  return {};
}

Status QuestionAnswering::check_shapes() {
  const std::vector<std::int64_t>& shape = session_->inputs().front().shape;
  if (shape[0] > 1) {
    return signature_error(fmt::format("its input {}: a fixed batch must be 1", describe(session_->inputs().front())));
  }
  if (shape[0] == 1) rows_max_ = 1;
  sequence_max_ = std::min(config_.positions_max.value_or(kSequenceMax), kSequenceMax);
  if (shape[1] > 0) {
    fixed_columns_ = static_cast<std::size_t>(shape[1]);
    sequence_max_ = std::min(sequence_max_, *fixed_columns_);
    if (std::find(inputs_.begin(), inputs_.end(), Input::attention_mask) == inputs_.end()) {
      return signature_error("its sequence length is fixed, and it has no input 'attention_mask'");
    }
  }
  default_sequence_ = std::min({config_.tokenizer_max.value_or(kDefaultSequence), kDefaultSequence, sequence_max_});
  return {};
}

Result<QuestionAnswering::Limits> QuestionAnswering::check_options(const QuestionOptions& options) const {
  const auto check = [](std::string_view name, std::size_t value, std::size_t min, std::size_t max) -> Status {
    if (value >= min && value <= max) return {};
    return invalid_argument(fmt::format("{}: must be from {} to {}, not {}", name, min, max, value));
  };
  RETURN_IF_ERROR(check("top_k", options.top_k, 1, kTopKMax));
  RETURN_IF_ERROR(check("max_answer_len", options.max_answer_len, 1, kAnswerTokensMax));
  Limits limits;
  limits.sequence_max = options.max_seq_len.value_or(default_sequence_);
  RETURN_IF_ERROR(
      check("max_seq_len", limits.sequence_max, tokenizer_.pair_template().special_count + 2, sequence_max_));
  limits.stride = options.doc_stride.value_or(std::min(limits.sequence_max / 2, kDefaultStride));
  RETURN_IF_ERROR(check("doc_stride", limits.stride, 0, limits.sequence_max));
  if (options.max_question_len) {
    RETURN_IF_ERROR(check("max_question_len", *options.max_question_len, 1, kSequenceMax));
  }
  return limits;
}

QuestionAnswering::Row QuestionAnswering::make_row(const Encoding& question, const Encoding& context, std::size_t begin,
                                                   std::size_t end) const {
  Row row;
  row.window_begin = begin;
  row.window_end = end;
  const PairTemplate& pair = tokenizer_.pair_template();
  const std::size_t size = pair.special_count + question.size() + end - begin;
  const std::size_t columns = std::max(fixed_columns_.value_or(size), size);
  row.input_ids.reserve(columns);
  row.token_type_ids.reserve(columns);
  row.allowed.reserve(columns);
  const auto put = [&row](TokenId id, std::uint32_t type, bool allowed) {
    row.input_ids.push_back(id);
    row.token_type_ids.push_back(type);
    row.allowed.push_back(allowed);
  };
  // The "cls" token, which stands for "no answer", keeps its logit wherever it is.
  for (const PairTemplate::Part& part : pair.parts) {
    if (part.what == PairTemplate::What::special) {
      put(part.id, part.type_id, part.id == config_.cls_id);
    } else if (part.what == PairTemplate::What::first) {
      for (const TokenId id : question.ids) put(id, part.type_id, id == config_.cls_id);
    } else {
      row.context_at = row.input_ids.size();
      for (std::size_t i = begin; i < end; ++i) put(context.ids[i], part.type_id, true);
    }
  }
  row.attention_mask.assign(size, 1);
  row.attention_mask.resize(columns, 0);
  row.input_ids.resize(columns, config_.pad_id);
  row.token_type_ids.resize(columns, 0);
  row.allowed.resize(columns, 0);
  return row;
}

Result<std::vector<QuestionAnswering::Row>> QuestionAnswering::make_rows(const Encoding& question,
                                                                         const Encoding& context, Limits limits) const {
  const std::size_t taken = tokenizer_.pair_template().special_count + question.size();
  std::vector<Row> rows;
  if (taken + context.size() <= limits.sequence_max) {
    rows.push_back(make_row(question, context, 0, context.size()));
    return rows;
  }
  if (taken >= limits.sequence_max) {
    return invalid_argument(fmt::format("question: its {} tokens leave no room for the context in {}", question.size(),
                                        limits.sequence_max));
  }
  const std::size_t window = limits.sequence_max - taken;
  if (limits.stride >= window) {
    return invalid_argument(
        fmt::format("doc_stride: must be less than the {} tokens that the question leaves for the "
                    "context, not {}",
                    window, limits.stride));
  }
  const std::size_t step = window - limits.stride;
  const std::size_t count = 1 + (context.size() - window + step - 1) / step;
  if (count > kWindowsMax) {
    return Error{ErrorKind::too_large,
                 fmt::format("context: it makes {} windows; the limit is {}", count, kWindowsMax)};
  }
  rows.reserve(count);
  for (std::size_t begin = 0; rows.size() < count; begin += step) {
    rows.push_back(make_row(question, context, begin, std::min(begin + window, context.size())));
  }
  return rows;
}

Result<std::vector<DecodedSpans>> QuestionAnswering::run(const std::vector<Row>& rows,
                                                         const DecodeOptions& options) const {
  std::vector<DecodedSpans> out;
  out.reserve(rows.size());
  const std::array<std::size_t, 2> wanted{start_output_, end_output_};
  for (std::size_t begin = 0; begin < rows.size();) {
    // Rows of one length share a run; no row is padded for another's sake.
    const std::size_t columns = rows[begin].input_ids.size();
    std::size_t end = begin + 1;
    while (end < rows.size() && end - begin < rows_max_ && rows[end].input_ids.size() == columns) ++end;
    Row joined;
    const Row* batch = &rows[begin];
    if (end - begin > 1) {
      for (std::size_t i = begin; i < end; ++i) {
        const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
        append(joined.input_ids, rows[i].input_ids);
        append(joined.attention_mask, rows[i].attention_mask);
        append(joined.token_type_ids, rows[i].token_type_ids);
      }
      batch = &joined;
    }
    std::vector<const std::vector<std::int64_t>*> tensors;
    for (const Input input : inputs_) {
      tensors.push_back(input == Input::input_ids        ? &batch->input_ids
                        : input == Input::attention_mask ? &batch->attention_mask
                                                         : &batch->token_type_ids);
    }
    ASSIGN_OR_RETURN(const auto logits, session_->run(tensors, {end - begin, columns}, wanted));
    const std::size_t count = (end - begin) * columns;
    if (logits[0].size() != count || logits[1].size() != count) {
      return internal_error(
          fmt::format("the model gave {} and {} logits for {} tokens", logits[0].size(), logits[1].size(), count));
    }
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t at = (i - begin) * columns;
      out.push_back(decode_spans(std::span(logits[0]).subspan(at, columns), std::span(logits[1]).subspan(at, columns),
                                 rows[i].allowed, options));
      if (std::isnan(out.back().null_score)) return internal_error("the model gave logits that are not numbers");
    }
    begin = end;
  }
  return out;
}

Span QuestionAnswering::characters_of(const TokenSpan& span, const Row& row, const Encoding& context,
                                      bool whole_words) const {
  std::size_t first = span.start - row.context_at + row.window_begin;
  std::size_t last = span.end - row.context_at + row.window_begin;
  if (whole_words) {
    while (first > row.window_begin && context.words[first - 1] == context.words[first]) --first;
    while (last + 1 < row.window_end && context.words[last + 1] == context.words[last]) ++last;
  }
  const auto offset = [&](std::size_t token) {
    return tokenizer_.trimmed_offset(context.ids[token], context.offsets[token], token - row.window_begin);
  };
  const std::uint32_t begin = offset(first).begin;
  return {begin, std::max(begin, offset(last).end)};
}

Result<QuestionAnswering::Prepared> QuestionAnswering::prepare(std::string_view question, std::string_view context,
                                                               const QuestionOptions& options) const {
  ASSIGN_OR_RETURN(const std::u32string question_text, decode_field(question, "question"));
  Prepared out;
  ASSIGN_OR_RETURN(out.text, decode_field(context, "context"));
  ASSIGN_OR_RETURN(const Limits limits, check_options(options));
  Encoding question_tokens = tokenizer_.encode(question_text);
  if (options.max_question_len && question_tokens.size() > *options.max_question_len) {
    question_tokens.ids.resize(*options.max_question_len);
  }
  out.context = tokenizer_.encode(out.text);
  ASSIGN_OR_RETURN(out.rows, make_rows(question_tokens, out.context, limits));
  return out;
}

Result<std::vector<Answer>> QuestionAnswering::answer(std::string_view question, std::string_view context,
                                                      const QuestionOptions& options) const {
  ASSIGN_OR_RETURN(const Prepared prepared, prepare(question, context, options));
  const std::vector<Row>& rows = prepared.rows;
  // Some candidates fall together when they are widened to words, so that more are taken at first.
  const DecodeOptions decode{.candidates_max = options.align_to_words ? options.top_k * 2 + 10 : options.top_k,
                             .answer_tokens_max = options.max_answer_len};
  ASSIGN_OR_RETURN(const std::vector<DecodedSpans> decoded, run(rows, decode));

  struct Found {
    Answer answer;
    std::u32string_view text;
  };
  std::vector<Found> found;
  std::unordered_map<std::u32string, std::size_t> by_text;  // in lower case
  double null_score = kNullScoreStart;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    null_score = std::min(null_score, static_cast<double>(decoded[i].null_score));
    for (const TokenSpan& span : decoded[i].spans) {
      // A "cls" token that is spelled out in the question competes, but is no part of the context.
      if (span.start < row.context_at || span.end >= row.context_at + row.window_end - row.window_begin) continue;
      const Span characters = characters_of(span, row, prepared.context, options.align_to_words);
      const std::u32string_view text =
          std::u32string_view(prepared.text).substr(characters.begin, characters.end - characters.begin);
      const auto [same, is_new] = by_text.try_emplace(to_lower(text), found.size());
      if (is_new) {
        found.push_back({{static_cast<double>(span.score), characters.begin, characters.end, {}}, text});
      } else {
        found[same->second].answer.score += static_cast<double>(span.score);
      }
    }
  }
  if (options.handle_impossible_answer) found.push_back({{null_score, 0, 0, {}}, {}});
  std::stable_sort(found.begin(), found.end(),
                   [](const Found& a, const Found& b) { return a.answer.score > b.answer.score; });
  if (found.size() > options.top_k) found.resize(options.top_k);
  if (found.empty()) found.push_back({});  // a context of white space alone: nothing can be an answer
  std::vector<Answer> answers;
  for (Found& one : found) {
    one.answer.answer = encode_utf8(one.text);
    answers.push_back(std::move(one.answer));
  }
  return answers;
}

}  // namespace thaw::onnx
