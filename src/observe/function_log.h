// The log of each function: its own output and Thaw's START, END and REPORT lines, bounded on disk.
//
//   LOGS/NAME.log      newest lines
//   LOGS/NAME.log.1    the lines before them
//
// When NAME.log passes file_bytes_max it becomes NAME.log.1. When all logs together pass total_bytes_max, those
// that were written least recently go first.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::observe {

struct LogLimits {
  std::uint64_t file_bytes_max = 4 << 20;
  std::uint64_t total_bytes_max = 1ULL << 30;
  // Text waiting to be written, per function; lines beyond it are dropped and counted in the log itself.
  std::size_t buffer_bytes_max = 1 << 20;
  std::size_t line_bytes_max = 65536;
};

// One function's log. Threads: any. Never blocks on the disk: a writer thread does.
class FunctionLog {
 public:
  virtual ~FunctionLog() = default;
  // Appends one or more whole lines (each ending in '\n'; one is added when missing).
  virtual void append(std::string_view lines) = 0;
};

class FunctionLogs {
 public:
  static Result<std::unique_ptr<FunctionLogs>> open(const std::string& folder, LogLimits limits);
  virtual ~FunctionLogs() = default;
  // The log of a function, made on first use; cheap to hold.
  virtual std::shared_ptr<FunctionLog> of(const std::string& function_name) = 0;
  // What is on disk and waiting, the newest bytes_max at whole lines, and the position after it.
  struct Tail {
    std::string text;
    std::uint64_t position = 0;
  };
  virtual Result<Tail> tail(const std::string& function_name, std::size_t bytes_max) = 0;
  // Lines after a position that tail() or this call returned; empty when there are none yet.
  virtual Result<Tail> since(const std::string& function_name, std::uint64_t position, std::size_t bytes_max) = 0;
  virtual Status remove(const std::string& function_name) = 0;
  // Everything waiting is on disk when this returns.
  virtual void flush() = 0;
};

}  // namespace thaw::observe
