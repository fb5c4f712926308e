#include "base/base64.h"

#include <cstdint>

namespace thaw {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

}  // namespace

bool Base64Reader::read(char c, std::string& out) {
  if (c == '=') {
    // Two digits leave four bits and want two of them, three digits leave two and want one.
    ++padding_;
    return bits_ < 6 && padding_ <= bits_ / 2;
  }
  const int value = value_of(c);
  if (value < 0 || padding_ > 0) return false;
  word_ = (word_ << 6 | static_cast<unsigned>(value)) & 0xFFFFFU;
  bits_ += 6;
  if (bits_ < 8) return true;
  bits_ -= 8;
  out += static_cast<char>(word_ >> bits_ & 0xFFU);
  return true;
}

std::string base64_encoded(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view group = bytes.substr(i, 3);
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k)
      word = word << 8 | (k < group.size() ? static_cast<unsigned char>(group[k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += k <= group.size() ? kDigits[word >> (18 - 6 * k) & 63U] : '=';
  }
  return out;
}

std::optional<std::string> base64_decoded(std::string_view text) {
  Base64Reader reader;
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  for (const char c : text) {
    if (!reader.read(c, out)) return std::nullopt;
  }
  if (!reader.ends()) return std::nullopt;
  return out;
}

}  // namespace thaw
