#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "text.h"

namespace thaw::cli {
namespace {

constexpr std::chrono::milliseconds kRedrawEvery{80};

std::string colored(Color color, std::string_view text) {
  const char* code = "";
  switch (color) {
    case Color::bold:
      code = "1";
      break;
    case Color::dim:
      code = "2";
      break;
    case Color::red:
      code = "31";
      break;
    case Color::green:
      code = "32";
      break;
    case Color::yellow:
      code = "33";
      break;
    case Color::cyan:
      code = "36";
      break;
  }
  return std::string("\033[") + code + "m" + std::string(text) + "\033[0m";
}

}  // namespace

Terminal Terminal::of_process(bool color_wanted) {
  Options options;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  options.color_wanted = color_wanted && (no_color == nullptr || *no_color == '\0') &&
                         (term == nullptr || std::string_view(term) != "dumb");
  options.out_is_terminal = ::isatty(STDOUT_FILENO) == 1;
  options.err_is_terminal = ::isatty(STDERR_FILENO) == 1;
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) options.columns = size.ws_col;
  return Terminal(options);
}

std::string Terminal::out(Color color, std::string_view text) const {
  return options_.color_wanted && options_.out_is_terminal ? colored(color, text) : std::string(text);
}

std::string Terminal::err(Color color, std::string_view text) const {
  return options_.color_wanted && options_.err_is_terminal ? colored(color, text) : std::string(text);
}

std::string format_table(const std::vector<std::vector<std::string>>& rows, const Terminal& terminal) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string out;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (std::size_t i = 0; i < rows[r].size(); ++i) {
      const std::string cell = printable(rows[r][i]);
      line += cell;
      if (i + 1 < rows[r].size()) line.append(widths[i] - std::min(widths[i], display_width(cell)) + 2, ' ');
    }
    while (line.ends_with(' ')) line.pop_back();
    out += (r == 0 ? terminal.out(Color::bold, line) : line) + "\n";
  }
  return out;
}

std::string format_progress(std::string_view label, std::uint64_t done_bytes, std::uint64_t total_bytes,
                            std::chrono::milliseconds elapsed, std::size_t columns) {
  done_bytes = std::min(done_bytes, total_bytes);
  const double share = total_bytes == 0 ? 1.0 : static_cast<double>(done_bytes) / static_cast<double>(total_bytes);
  const double seconds = static_cast<double>(elapsed.count()) / 1000;
  const double rate = seconds > 0 ? static_cast<double>(done_bytes) / seconds : 0;
  std::string tail = std::to_string(static_cast<int>(share * 100)) + " %  " + human_bytes(done_bytes) + " of " +
                     human_bytes(total_bytes);
  if (rate > 0) tail += "  " + human_bytes(static_cast<std::uint64_t>(rate)) + "/s";
  if (rate > 0 && done_bytes < total_bytes && seconds > 0.5) {
    tail += "  " + human_seconds(static_cast<std::uint64_t>(static_cast<double>(total_bytes - done_bytes) / rate + 1)) +
            " left";
  }
  const std::size_t fixed = label.size() + tail.size() + 7;
  const std::size_t width = columns > fixed + 10 ? std::min<std::size_t>(columns - fixed, 40) : 0;
  std::string line = std::string(label) + "  ";
  if (width > 0) {
    const auto full = static_cast<std::size_t>(share * static_cast<double>(width));
    line += '[';
    for (std::size_t i = 0; i < width; ++i) line += i < full ? '=' : (i == full ? '>' : ' ');
    line += "]  ";
  }
  return (line + tail).substr(0, columns);
}

void StatusLine::show(std::string_view text) {
  if (!terminal_.err_is_terminal()) return;
  visible_ = true;
  std::fprintf(stderr, "\r\033[K%s", printable(text).substr(0, terminal_.columns()).c_str());
  std::fflush(stderr);
}

void StatusLine::clear() {
  if (!visible_) return;
  visible_ = false;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

ProgressBar::ProgressBar(const Terminal& terminal, std::string label, std::uint64_t total_bytes)
    : terminal_(terminal), label_(std::move(label)), total_bytes_(total_bytes) {}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::update(std::uint64_t done_bytes) {
  if (!terminal_.err_is_terminal()) return;
  const Clock::time_point now = Clock::now();
  if (now - drawn_ < kRedrawEvery) return;
  drawn_ = now;
  visible_ = true;
  const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(now - started_);
  const std::string line = done_bytes >= total_bytes_
                               ? label_ + "  sent " + human_bytes(total_bytes_) + ", the daemon is checking it"
                               : format_progress(label_, done_bytes, total_bytes_, elapsed, terminal_.columns());
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
}

void ProgressBar::clear() {
  if (!visible_) return;
  visible_ = false;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

}  // namespace thaw::cli
