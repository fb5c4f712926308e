#include "interrupt.h"

namespace thaw::cli {
namespace {

volatile sig_atomic_t seen = 0;

void on_signal(int signal) { seen = signal; }

}  // namespace

InterruptGuard::InterruptGuard() {
  clear();
  struct sigaction action {};
  action.sa_handler = &on_signal;
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
}

int InterruptGuard::signal_seen() { return seen; }
void InterruptGuard::clear() { seen = 0; }

}  // namespace thaw::cli
