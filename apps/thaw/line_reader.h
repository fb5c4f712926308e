// Lines that a person types: with editing and a history where both ends are terminals, plain ones elsewhere.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace thaw::cli {

// Ownership: standard input and output are its own while it lives, but for what is printed between two lines.
// Threads: one at a time.
class LineReader {
 public:
  enum class End : std::uint8_t { line, end, interrupted };
  struct Line {
    End end = End::end;
    std::string text;  // without its '\n'
  };

  explicit LineReader(bool out_is_terminal);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Waits for a line. A signal whose handler returns ends the wait: `interrupted`, and what was typed is dropped.
  Line read(const std::string& prompt);

 private:
  struct Editor;
  Line read_plain();
  std::unique_ptr<Editor> editor_;  // nullptr: plain lines
};

}  // namespace thaw::cli
