// Characters as the tokenisers see them: code points with their Unicode properties. ICU's tables, one place that names
// it. Texts are decoded once; everything behind this works on code points, which are also the unit of all offsets.
// Threads: all functions may be called from any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::onnx {

// The code points of well-formed UTF-8 (RFC 3629). Errors: invalid_argument with the byte position.
Result<std::u32string> decode_utf8(std::string_view bytes);
void append_utf8(char32_t c, std::string& out);
std::string encode_utf8(std::u32string_view text);

// The property White_Space.
bool is_white_space(char32_t c);
// General category L*, N*, Mn, M*.
bool is_letter(char32_t c);
bool is_number(char32_t c);
bool is_nonspacing_mark(char32_t c);
bool is_mark(char32_t c);
// \w of Unicode regular expressions (UTS #18): Alphabetic, M, Nd, Pc, Join_Control.
bool is_word_character(char32_t c);
// ASCII punctuation or general category P*: what BERT splits words at.
bool is_punctuation(char32_t c);
// What BERT's text cleaning drops: general category Cc, Cf, Co, save tab and line ends.
bool is_dropped_control(char32_t c);
// The CJK blocks that BERT isolates.
bool is_cjk_ideograph(char32_t c);

unsigned combining_class(char32_t c);
// The full canonical or compatibility decomposition; empty when the character is its own.
enum class Decomposition { canonical, compatibility };
std::u32string_view decompose(char32_t c, Decomposition decomposition, std::u32string& scratch);
// The primary composite of the pair, or 0.
char32_t compose(char32_t first, char32_t second);

// The full lower-case mapping of one character on its own (no context), in scratch.
std::u32string_view lower(char32_t c, std::u32string& scratch);
// Lower case of a text, in its context (final sigma), independent of any locale.
std::u32string to_lower(std::u32string_view text);

}  // namespace thaw::onnx
