#include "onnx/unicode.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <fmt/format.h>
#include <algorithm>
#include <array>

namespace thaw::onnx {
namespace {

UChar32 icu(char32_t c) { return static_cast<UChar32>(c); }

bool in_categories(char32_t c, std::uint32_t mask) { return (U_GET_GC_MASK(icu(c)) & mask) != 0; }

const UNormalizer2* normalizer(Decomposition decomposition) {
  UErrorCode error = U_ZERO_ERROR;
  return decomposition == Decomposition::canonical ? unorm2_getNFCInstance(&error) : unorm2_getNFKCInstance(&error);
}

void append_utf16(const UChar* units, std::int32_t length, std::u32string& out) {
  for (std::int32_t i = 0; i < length;) {
    UChar32 c = 0;
    U16_NEXT(units, i, length, c);
    out.push_back(static_cast<char32_t>(c));
  }
}

}  // namespace

Result<std::u32string> decode_utf8(std::string_view bytes) {
  std::u32string out;
  out.reserve(bytes.size());
  const auto* const data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const auto length = static_cast<std::int64_t>(bytes.size());
  for (std::int64_t i = 0; i < length;) {
    const std::int64_t at = i;
    UChar32 c = data[i];
    if (c < 0x80) {
      ++i;
    } else {
      U8_NEXT(data, i, length, c);
      if (c < 0) return invalid_argument(fmt::format("not well-formed UTF-8 at byte {}", at));
    }
    out.push_back(static_cast<char32_t>(c));
  }
  return out;
}

void append_utf8(char32_t c, std::string& out) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
    return;
  }
  std::array<std::uint8_t, 4> bytes{};
  std::int32_t length = 0;
  U8_APPEND_UNSAFE(bytes.data(), length, icu(c));
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(length));
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(c, out);
  return out;
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return u_hasBinaryProperty(icu(c), UCHAR_WHITE_SPACE) != 0;
}

bool is_letter(char32_t c) {
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  return in_categories(c, U_GC_L_MASK);
}

bool is_number(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return in_categories(c, U_GC_N_MASK);
}

bool is_nonspacing_mark(char32_t c) { return c >= 0x300 && in_categories(c, U_GC_MN_MASK); }
bool is_mark(char32_t c) { return c >= 0x300 && in_categories(c, U_GC_M_MASK); }

bool is_word_character(char32_t c) {
  if (c < 0x80) return is_letter(c) || is_number(c) || c == '_';
  return u_hasBinaryProperty(icu(c), UCHAR_ALPHABETIC) != 0 || u_hasBinaryProperty(icu(c), UCHAR_JOIN_CONTROL) != 0 ||
         in_categories(c, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK);
}

bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  return in_categories(c, U_GC_P_MASK);
}

bool is_dropped_control(char32_t c) {
  if (c < 0x80) return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
  return in_categories(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK);
}

bool is_cjk_ideograph(char32_t c) {
  if (c < 0x3400) return false;
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

unsigned combining_class(char32_t c) { return c < 0x300 ? 0 : u_getCombiningClass(icu(c)); }

std::u32string_view decompose(char32_t c, Decomposition decomposition, std::u32string& scratch) {
  scratch.clear();
  if (c < 0x80) return scratch;
  std::array<UChar, 64> units{};
  UErrorCode error = U_ZERO_ERROR;
  const std::int32_t length = unorm2_getDecomposition(normalizer(decomposition), icu(c), units.data(),
                                                      static_cast<std::int32_t>(units.size()), &error);
  if (length > 0 && U_SUCCESS(error)) append_utf16(units.data(), length, scratch);
  return scratch;
}

char32_t compose(char32_t first, char32_t second) {
  const UChar32 composite = unorm2_composePair(normalizer(Decomposition::canonical), icu(first), icu(second));
  return composite < 0 ? 0 : static_cast<char32_t>(composite);
}

std::u32string_view lower(char32_t c, std::u32string& scratch) {
  scratch.clear();
  if (c < 0x80) {
    scratch.push_back(c >= 'A' && c <= 'Z' ? c + 32 : c);
    return scratch;
  }
  std::array<UChar, 2> in{};
  std::array<UChar, 16> out{};
  std::int32_t in_length = 0;
  U16_APPEND_UNSAFE(in.data(), in_length, icu(c));
  UErrorCode error = U_ZERO_ERROR;
  const std::int32_t length =
      u_strToLower(out.data(), static_cast<std::int32_t>(out.size()), in.data(), in_length, "", &error);
  if (U_FAILURE(error)) {
    scratch.push_back(c);
  } else {
    append_utf16(out.data(), length, scratch);
  }
  return scratch;
}

std::u32string to_lower(std::u32string_view text) {
  std::u32string out(text);
  if (std::all_of(out.begin(), out.end(), [](char32_t c) { return c < 0x80; })) {
    for (char32_t& c : out) c = c >= 'A' && c <= 'Z' ? c + 32 : c;
    return out;
  }
  out.clear();
  std::u16string units;
  units.reserve(text.size() + 8);
  for (const char32_t c : text) {
    if (c >= 0x10000) {
      units.push_back(U16_LEAD(c));
      units.push_back(U16_TRAIL(c));
    } else {
      units.push_back(static_cast<char16_t>(c));
    }
  }
  std::u16string lowered(units.size() * 3 + 1, u'\0');
  UErrorCode error = U_ZERO_ERROR;
  const std::int32_t length = u_strToLower(lowered.data(), static_cast<std::int32_t>(lowered.size()), units.data(),
                                           static_cast<std::int32_t>(units.size()), "", &error);
  if (U_FAILURE(error)) return std::u32string(text);
  append_utf16(lowered.data(), length, out);
  return out;
}

}  // namespace thaw::onnx
