#include "onnx/aligned_text.h"

#include <algorithm>

#include "onnx/unicode.h"

namespace thaw::onnx {
namespace {

// One character of a decomposed text. consumed: how many characters of the text before the step it uses up; 0 for an
// inserted one.
struct Step {
  char32_t c = 0;
  unsigned char combining = 0;
  std::int64_t consumed = 1;
};

// Canonical decomposition and ordering (UAX #15), D68 and D108.
std::vector<Step> decomposed(const std::u32string& text, Decomposition decomposition) {
  std::vector<Step> out;
  out.reserve(text.size() + 8);
  std::u32string scratch;
  for (const char32_t c : text) {
    const std::u32string_view parts = decompose(c, decomposition, scratch);
    if (parts.empty()) {
      out.push_back({c, static_cast<unsigned char>(combining_class(c)), 1});
      continue;
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      out.push_back({parts[i], static_cast<unsigned char>(combining_class(parts[i])), i == 0 ? 1 : 0});
    }
  }
  for (auto begin = out.begin(); begin != out.end();) {
    if (begin->combining == 0) {
      ++begin;
      continue;
    }
    const auto end = std::find_if(begin, out.end(), [](const Step& step) { return step.combining == 0; });
    std::stable_sort(begin, end, [](const Step& a, const Step& b) { return a.combining < b.combining; });
    begin = end;
  }
  return out;
}

// Canonical composition (UAX #15, D117): each character joins the last starter unless something between blocks it.
void recompose(std::vector<Step>& steps) {
  std::size_t out = 0;
  std::size_t starter = 0;
  bool has_starter = false;
  int last_combining = -1;  // of what was kept since the starter; -1 for nothing
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step step = steps[i];
    if (has_starter && (last_combining < static_cast<int>(step.combining))) {
      if (const char32_t composite = compose(steps[starter].c, step.c); composite != 0) {
        steps[starter].c = composite;
        steps[starter].consumed += step.consumed;
        continue;
      }
    }
    steps[out] = step;
    if (step.combining == 0) {
      starter = out;
      has_starter = true;
      last_combining = -1;
    } else {
      last_combining = step.combining;
    }
    ++out;
  }
  steps.resize(out);
}

void apply(AlignedText& text, const std::vector<Step>& steps) {
  AlignedText out;
  out.chars.reserve(steps.size());
  out.spans.reserve(steps.size());
  std::size_t next = 0;
  for (const Step& step : steps) {
    const std::size_t from = step.consumed > 0 ? next : (next == 0 ? 0 : next - 1);
    out.push(step.c, text.spans[std::min(from, text.spans.size() - 1)]);
    next += static_cast<std::size_t>(step.consumed);
  }
  text = std::move(out);
}

}  // namespace

void normalize_form(AlignedText& text, NormalForm form) {
  // ASCII is in all four forms.
  if (std::all_of(text.chars.begin(), text.chars.end(), [](char32_t c) { return c < 0x80; })) return;
  const bool canonical = form == NormalForm::nfc || form == NormalForm::nfd;
  std::vector<Step> steps = decomposed(text.chars, canonical ? Decomposition::canonical : Decomposition::compatibility);
  if (form == NormalForm::nfc || form == NormalForm::nfkc) recompose(steps);
  apply(text, steps);
}

void lower_case(AlignedText& text) {
  std::u32string scratch;
  AlignedText grown;  // takes over at the first character whose lower case is longer
  bool growing = false;
  for (std::size_t i = 0; i < text.chars.size(); ++i) {
    const std::u32string_view lowered = lower(text.chars[i], scratch);
    if (!growing && lowered.size() == 1) {
      text.chars[i] = lowered[0];
      continue;
    }
    if (!growing) {
      growing = true;
      grown.chars.assign(text.chars, 0, i);
      grown.spans.assign(text.spans.begin(), text.spans.begin() + static_cast<std::ptrdiff_t>(i));
    }
    for (const char32_t c : lowered) grown.push(c, text.spans[i]);
  }
  if (growing) text = std::move(grown);
}

}  // namespace thaw::onnx
