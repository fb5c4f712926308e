// Ctrl-C and SIGTERM, for commands that end what they have begun in good order.
#pragma once

#include <signal.h>

namespace thaw::cli {

// While it lives, the two end no process; interrupted() tells.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
};

bool interrupted();

}  // namespace thaw::cli
