// Ctrl-C and SIGTERM as something that a command asks about, instead of its end.
#pragma once

#include <signal.h>

namespace thaw::cli {

// While one lives, both signals only set a flag, and end system calls that wait (EINTR). One at a time.
// Threads: the one of main().
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // The signal that has come since the last clear(); 0 when none has.
  static int signal_seen();
  static void clear();

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
};

}  // namespace thaw::cli
