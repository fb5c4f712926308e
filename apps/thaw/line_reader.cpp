#include "line_reader.h"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace thaw::cli {
namespace {

constexpr int kHistoryLinesMax = 500;

}  // namespace

// libedit: editing with the keys of emacs or vi, as the user's ~/.editrc says, UTF-8 included.
struct LineReader::Editor {
  EditLine* const line = ::el_init("thaw", stdin, stdout, stderr);
  History* const history = ::history_init();
  HistEvent event{};
  std::string prompt;

  Editor() {
    if (!usable()) return;
    ::history(history, &event, H_SETSIZE, kHistoryLinesMax);
    ::history(history, &event, H_SETUNIQUE, 1);
    ::el_set(line, EL_EDITOR, "emacs");
    ::el_set(line, EL_HIST, &::history, history);
    ::el_set(line, EL_CLIENTDATA, this);
    ::el_set(line, EL_PROMPT, &Editor::give_prompt);
    ::el_source(line, nullptr);
  }
  ~Editor() {
    if (line != nullptr) ::el_end(line);
    if (history != nullptr) ::history_end(history);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  bool usable() const { return line != nullptr && history != nullptr; }

  static char* give_prompt(EditLine* of) {
    Editor* self = nullptr;
    ::el_get(of, EL_CLIENTDATA, &self);
    return self->prompt.data();
  }
};

LineReader::LineReader(bool out_is_terminal) {
  if (!out_is_terminal || ::isatty(STDIN_FILENO) == 0) return;
  editor_ = std::make_unique<Editor>();
  if (!editor_->usable()) editor_.reset();
}

LineReader::~LineReader() = default;

LineReader::Line LineReader::read(const std::string& prompt) {
  if (editor_ == nullptr) return read_plain();
  editor_->prompt = prompt;
  int count = 0;
  errno = 0;
  const char* const text = ::el_gets(editor_->line, &count);
  if (text == nullptr || count <= 0) return {errno == EINTR ? End::interrupted : End::end, {}};
  Line line{End::line, std::string(text, static_cast<std::size_t>(count))};
  if (line.text.ends_with('\n')) line.text.pop_back();
  if (!line.text.empty()) ::history(editor_->history, &editor_->event, H_ENTER, line.text.c_str());
  return line;
}

LineReader::Line LineReader::read_plain() {
  char* text = nullptr;
  std::size_t capacity = 0;
  errno = 0;
  const ssize_t count = ::getline(&text, &capacity, stdin);
  const std::unique_ptr<char, decltype(&std::free)> owned(text, &std::free);
  if (count < 0) {
    const bool interrupted = errno == EINTR;
    std::clearerr(stdin);
    return {interrupted ? End::interrupted : End::end, {}};
  }
  Line line{End::line, std::string(text, static_cast<std::size_t>(count))};
  if (line.text.ends_with('\n')) line.text.pop_back();
  return line;
}

}  // namespace thaw::cli
