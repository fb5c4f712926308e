#include "base/text_lines.h"

#include <algorithm>

#include "base/sys.h"

namespace thaw {
namespace {

constexpr std::size_t kReadBytes = 256 << 10;
// Of a line that is too long.
constexpr std::size_t kKeptBytes = 256;

}  // namespace

Result<bool> TextLines::fill() {
  buffer_.erase(0, at_);
  at_ = 0;
  const std::size_t held = buffer_.size();
  buffer_.resize(held + kReadBytes);
  const auto got = sys::read_some(file_, std::span<char>(buffer_).subspan(held));
  buffer_.resize(held + (got.ok() ? *got : 0));
  if (!got.ok()) return got.error();
  return *got > 0;
}

Result<std::optional<TextLine>> TextLines::next() {
  TextLine line{.text = {}, .number = ++number_, .offset = offset_, .ended = true, .too_long = false};
  std::size_t searched = 0;
  while (true) {
    const std::size_t end = buffer_.find('\n', at_ + searched);
    std::size_t length = (end == std::string::npos ? buffer_.size() : end) - at_;
    if (length > line_bytes_max_) {
      // Its beginning is kept for the message; the rest of it is passed over piece by piece.
      if (!line.too_long) long_text_ = buffer_.substr(at_, std::min(length, kKeptBytes));
      line.too_long = true;
    }
    if (end != std::string::npos) {
      line.text = std::string_view(buffer_).substr(at_, length);
      at_ += length + 1;
      offset_ += length + 1;
      break;
    }
    if (line.too_long) {
      at_ += length;
      offset_ += length;
      length = 0;
    }
    ASSIGN_OR_RETURN(const bool more, fill());
    searched = length;
    if (more) continue;
    if (length == 0 && !line.too_long) return std::optional<TextLine>();
    line.text = std::string_view(buffer_).substr(at_, length);
    line.ended = false;
    at_ += length;
    offset_ += length;
    break;
  }
  if (line.too_long) line.text = long_text_;
  if (line.text.ends_with('\r')) line.text.remove_suffix(1);
  return std::optional<TextLine>(line);
}

}  // namespace thaw
