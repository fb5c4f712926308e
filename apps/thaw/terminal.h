// What goes to people: colours, tables and progress bars, each only where there is a terminal to show it.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace thaw::cli {

enum class Color : std::uint8_t { bold, dim, red, green, yellow, cyan };

class Terminal {
 public:
  struct Options {
    bool color_wanted = true;  // no --no-color, no NO_COLOR, no TERM=dumb
    bool out_is_terminal = false;
    bool err_is_terminal = false;
    std::size_t columns = 80;
  };
  explicit Terminal(Options options) : options_(options) {}
  // Of this process's standard output and error.
  static Terminal of_process(bool color_wanted);

  bool out_is_terminal() const { return options_.out_is_terminal; }
  bool err_is_terminal() const { return options_.err_is_terminal; }
  std::size_t columns() const { return options_.columns; }
  // Text for standard output, or standard error, in a colour where that is a terminal.
  std::string out(Color color, std::string_view text) const;
  std::string err(Color color, std::string_view text) const;

 private:
  Options options_;
};

// Rows of cells in columns two spaces apart; the first row is the heading. Cells are made printable.
// Every line ends in '\n' and carries no trailing space.
std::string format_table(const std::vector<std::vector<std::string>>& rows, const Terminal& terminal);

// Bytes done, rate and time left, on standard error; silent where that is no terminal.
// The line is cleared when the bar goes.
class ProgressBar {
 public:
  ProgressBar(const Terminal& terminal, std::string label, std::uint64_t total_bytes);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(std::uint64_t done_bytes);
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  const Terminal& terminal_;
  std::string label_;
  std::uint64_t total_bytes_;
  Clock::time_point started_ = Clock::now();
  Clock::time_point drawn_{};
  bool visible_ = false;
};

// One line that changes, on standard error; silent where that is no terminal. Cleared when it goes.
class StatusLine {
 public:
  explicit StatusLine(const Terminal& terminal) : terminal_(terminal) {}
  ~StatusLine() { clear(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  void show(std::string_view text);
  void clear();

 private:
  const Terminal& terminal_;
  bool visible_ = false;
};

// The bar's line, without colour: "Uploading  [=====>    ]  52 %  14.1 of 27.0 MB  112 MB/s  1 s left".
std::string format_progress(std::string_view label, std::uint64_t done_bytes, std::uint64_t total_bytes,
                            std::chrono::milliseconds elapsed, std::size_t columns);

}  // namespace thaw::cli
