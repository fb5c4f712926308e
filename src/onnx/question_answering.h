// Extractive question answering: the span of a context that answers a question, with the results that Hugging Face's
// question-answering pipeline gives (transformers 4, fast tokenizers, no padding).
//
// A context that does not fit into a row with the question is cut into windows that overlap; each window is a row of
// its own, and the candidates of all compete. Candidates are widened to whole words; equal answers add their scores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "onnx/model_folder.h"
#include "onnx/session.h"
#include "onnx/span_decoder.h"

namespace thaw::onnx {

struct Answer {
  double score = 0;
  std::uint32_t start = 0;  // code points of the context, [start, end)
  std::uint32_t end = 0;
  std::string answer;  // UTF-8
};

inline constexpr std::size_t kTopKMax = 100;
inline constexpr std::size_t kAnswerTokensMax = 1000;
inline constexpr std::size_t kWindowsMax = 256;  // of one context
inline constexpr std::size_t kRowsMax = 8;       // of one run of the model

struct QuestionOptions {
  std::size_t top_k = 1;                        // 1 to kTopKMax
  std::size_t max_answer_len = 15;              // in tokens, 1 to kAnswerTokensMax
  std::optional<std::size_t> max_seq_len;       // tokens of a row; absent: 384, or what the model takes
  std::optional<std::size_t> doc_stride;        // tokens that windows share; absent: min(max_seq_len / 2, 128)
  std::optional<std::size_t> max_question_len;  // the question is cut to so many tokens; absent: it is not cut
  bool handle_impossible_answer = false;        // whether "no answer" (an empty one) competes
  bool align_to_words = true;                   // whether answers are widened to whole words
};

// Threads: answer() from many threads at a time.
class QuestionAnswering {
 public:
  // Errors: as read_model_folder() and Session::load(); unsupported for a model whose signature is another task's.
  static Result<std::unique_ptr<QuestionAnswering>> load(const std::string& folder, const SessionOptions& options);

  // Best first, at most top_k. Errors: invalid_argument for ill-formed UTF-8, an empty question or context, and options
  // out of range, with the parameter's name first and a colon ("top_k: ..."); too_large for a context of more than
  // kWindowsMax windows.
  Result<std::vector<Answer>> answer(std::string_view question, std::string_view context,
                                     const QuestionOptions& options) const;

  const ModelConfig& config() const { return config_; }
  std::size_t sequence_max() const { return sequence_max_; }
  const Session& session() const { return *session_; }

  // The rows that answer() would run: for measurements against a bare session.
  struct Row {
    std::vector<std::int64_t> input_ids;
    std::vector<std::int64_t> attention_mask;
    std::vector<std::int64_t> token_type_ids;
    std::vector<char> allowed;     // whether a token may be in an answer
    std::size_t context_at = 0;    // where the context's tokens begin in the row
    std::size_t window_begin = 0;  // and which of them the row holds
    std::size_t window_end = 0;
  };
  struct Prepared {
    std::u32string text;  // the context
    Encoding context;
    std::vector<Row> rows;
  };
  Result<Prepared> prepare(std::string_view question, std::string_view context, const QuestionOptions& options) const;

 private:
  enum class Input { input_ids, attention_mask, token_type_ids };
  struct Limits {
    std::size_t sequence_max = 0;
    std::size_t stride = 0;
  };

  explicit QuestionAnswering(ModelFolder folder)
      : config_(std::move(folder.config)), tokenizer_(std::move(folder.tokenizer)) {}
  Status check_signature();
  Status check_shapes();
  Result<Limits> check_options(const QuestionOptions& options) const;
  Result<std::vector<Row>> make_rows(const Encoding& question, const Encoding& context, Limits limits) const;
  Row make_row(const Encoding& question, const Encoding& context, std::size_t begin, std::size_t end) const;
  Result<std::vector<DecodedSpans>> run(const std::vector<Row>& rows, const DecodeOptions& options) const;
  Span characters_of(const TokenSpan& span, const Row& row, const Encoding& context, bool whole_words) const;

  ModelConfig config_;
  Tokenizer tokenizer_;
  std::unique_ptr<Session> session_;
  std::vector<Input> inputs_;  // which tensor goes where in the session's order
  std::size_t start_output_ = 0;
  std::size_t end_output_ = 1;
  std::size_t sequence_max_ = 384;
  std::size_t default_sequence_ = 384;
  std::optional<std::size_t> fixed_columns_;
  std::size_t rows_max_ = kRowsMax;
};

}  // namespace thaw::onnx
