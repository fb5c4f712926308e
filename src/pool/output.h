// A function's standard output and error on their way into its log.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "http/loop.h"
#include "observe/function_log.h"
#include "observe/log_tail.h"

namespace thaw::pool {

// Ownership: shared by the environment and by follow(), which keeps it until the function's last process has closed the
// pipe. Threads: any.
class FunctionOutput : public std::enable_shared_from_this<FunctionOutput> {
 public:
  // pipe: the read end, non-blocking.
  FunctionOutput(UniqueFd pipe, std::shared_ptr<observe::FunctionLog> log);
  ~FunctionOutput();

  // Moves what is in the pipe into the log, whole lines at a time, without waiting. An invocation calls it before its
  // END line, so that what the function printed stands before it. False at the end of the pipe.
  bool take_waiting();
  // take_waiting(), unless somebody did so within the last millisecond: under load the order of lines of many
  // invocations says nothing, and a look at the pipe is a system call.
  void take_waiting_if_due(http::TimePoint now);
  // Lines that are printed from now on go there as well, for as long as somebody else holds it.
  void copy_to(const std::shared_ptr<observe::LogTail>& tail);
  // Takes lines as they come until the end of the pipe.
  http::Task<> follow(http::Loop& loop);

 private:
  void log_locked(std::string_view lines);

  const UniqueFd pipe_;
  const std::shared_ptr<observe::FunctionLog> log_;
  std::atomic<http::TimePoint::rep> taken_at_{0};
  std::mutex mutex_;
  std::string pending_;                                 // a line that is not whole yet; guarded by mutex_
  std::vector<std::weak_ptr<observe::LogTail>> tails_;  // one an invocation that asked for it; guarded by mutex_
};

}  // namespace thaw::pool
