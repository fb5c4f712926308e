// The end of one invocation's log, which its caller asked for ("LogType Tail": Invoke, AWS Lambda API Reference).
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>

namespace thaw::observe {

// "The last 4 KB of the execution log".
inline constexpr std::size_t kLogTailBytesMax = 4096;

// Threads: any.
class LogTail {
 public:
  // Whole lines; an end is added where it is missing.
  void append(std::string_view lines);
  // At most the last kLogTailBytesMax bytes, wherever in a line they begin.
  std::string text() const;

 private:
  mutable std::mutex mutex_;
  std::string text_;  // guarded by mutex_
};

}  // namespace thaw::observe
