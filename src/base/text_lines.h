// The lines of a file, one after another, in memory that is bounded by the longest line that is let through.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw {

struct TextLine {
  std::string_view text;  // without '\n' or "\r\n"; lives until the next line is asked for
  std::uint64_t number;   // from 1
  std::uint64_t offset;   // of its first byte in the file
  bool ended;             // by '\n': the last line of a file may lack it
  bool too_long;          // longer than the bound; text is its beginning
};

// Ownership: owns the file. Threads: one at a time.
class TextLines {
 public:
  TextLines(UniqueFd file, std::size_t line_bytes_max) : file_(std::move(file)), line_bytes_max_(line_bytes_max) {}

  // Nothing at the end of the file. Errors: those of read(2).
  Result<std::optional<TextLine>> next();
  std::uint64_t bytes_read() const { return offset_; }

 private:
  // False at the end of the file.
  Result<bool> fill();

  UniqueFd file_;
  std::size_t line_bytes_max_;
  std::string buffer_;
  std::size_t at_ = 0;        // of the next line in the buffer
  std::uint64_t offset_ = 0;  // of the next line in the file
  std::uint64_t number_ = 0;
  std::string long_text_;
};

}  // namespace thaw
