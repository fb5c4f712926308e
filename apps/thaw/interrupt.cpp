#include "interrupt.h"

namespace thaw::cli {
namespace {

volatile sig_atomic_t seen = 0;

void on_interrupt(int) { seen = 1; }

}  // namespace

InterruptGuard::InterruptGuard() {
  struct sigaction action {};
  action.sa_handler = &on_interrupt;
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
}

bool interrupted() { return seen != 0; }

}  // namespace thaw::cli
