#include "onnx/span_decoder.h"

#include <algorithm>
#include <cmath>

namespace thaw::onnx {
namespace {

// What stands for the logit of a token that may not be in an answer.
constexpr float kMaskedLogit = -10000.0F;

std::vector<float> softmax(std::span<const float> logits, std::span<const char> allowed) {
  std::vector<float> out(logits.size());
  float largest = -INFINITY;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = allowed[i] ? logits[i] : kMaskedLogit;
    largest = std::max(largest, out[i]);
  }
  double sum = 0;
  for (float& value : out) {
    value = std::exp(value - largest);
    sum += static_cast<double>(value);
  }
  for (float& value : out) value /= static_cast<float>(sum);
  return out;
}

bool better(const TokenSpan& a, const TokenSpan& b) {
  if (a.score != b.score) return a.score > b.score;
  return a.start != b.start ? a.start < b.start : a.end < b.end;
}

}  // namespace

DecodedSpans decode_spans(std::span<const float> start, std::span<const float> end, std::span<const char> allowed,
                          const DecodeOptions& options) {
  DecodedSpans out;
  if (allowed.empty() || options.candidates_max == 0) return out;
  std::vector<float> starts = softmax(start, allowed);
  std::vector<float> ends = softmax(end, allowed);
  out.null_score = starts[0] * ends[0];
  starts[0] = ends[0] = 0;

  // The best so far, as a heap with the worst of them on top.
  std::vector<TokenSpan>& best = out.spans;
  best.reserve(options.candidates_max + 1);
  const float largest_end = *std::max_element(ends.begin(), ends.end());
  for (std::size_t i = 1; i < allowed.size(); ++i) {
    if (!allowed[i]) continue;
    const bool full = best.size() == options.candidates_max;
    if (full && starts[i] * largest_end < best.front().score) continue;
    const std::size_t last = std::min(allowed.size(), i + options.answer_tokens_max);
    for (std::size_t j = i; j < last; ++j) {
      const TokenSpan span{starts[i] * ends[j], static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j)};
      if (!allowed[j] || !(span.score > 0)) continue;
      if (best.size() == options.candidates_max) {
        if (!better(span, best.front())) continue;
        std::pop_heap(best.begin(), best.end(), better);
        best.back() = span;
      } else {
        best.push_back(span);
      }
      std::push_heap(best.begin(), best.end(), better);
    }
  }
  std::sort_heap(best.begin(), best.end(), better);
  return out;
}

}  // namespace thaw::onnx
