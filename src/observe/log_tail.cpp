#include "observe/log_tail.h"

namespace thaw::observe {

void LogTail::append(std::string_view lines) {
  if (lines.empty()) return;
  const bool open_end = !lines.ends_with('\n');
  if (lines.size() > kLogTailBytesMax) lines.remove_prefix(lines.size() - kLogTailBytesMax);
  const std::lock_guard lock(mutex_);
  text_.append(lines);
  if (open_end) text_ += '\n';
  if (text_.size() > kLogTailBytesMax) text_.erase(0, text_.size() - kLogTailBytesMax);
}

std::string LogTail::text() const {
  const std::lock_guard lock(mutex_);
  return text_;
}

}  // namespace thaw::observe
