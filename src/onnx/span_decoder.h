// From logits to the likeliest answer spans of one window, as Hugging Face's question-answering pipeline counts them:
// a softmax over the tokens that may be in an answer, and for each pair start <= end the product of the two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace thaw::onnx {

struct TokenSpan {
  float score = 0;
  std::uint32_t start = 0;  // tokens of the row, both ends included
  std::uint32_t end = 0;
};

struct DecodeOptions {
  std::size_t candidates_max = 12;
  std::size_t answer_tokens_max = 15;
};

struct DecodedSpans {
  std::vector<TokenSpan> spans;  // best first; none with a score of zero
  float null_score = 0;          // of the first token, which stands for "no answer"
};

// allowed: for each token of the row whether it may be in an answer; the first token counts in the softmax if it is
// allowed, but is in no span. start, end: logits, as long as allowed.
DecodedSpans decode_spans(std::span<const float> start, std::span<const float> end, std::span<const char> allowed,
                          const DecodeOptions& options);

}  // namespace thaw::onnx
