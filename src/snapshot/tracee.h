// A process held from outside: every thread stopped by ptrace, its memory and registers open to the reader, and system
// calls made in its name. No byte of its code is changed. Dropping it lets the process go on as if nothing had been.
//
// Threads: the calling thread is the tracer; all use from that thread. The caller needs CAP_SYS_PTRACE and, to hold a
// process with a seccomp filter, CAP_SYS_ADMIN.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

class Tracee {
 public:
  struct Stopped {
    pid_t tid = 0;                // as the tracer sees it
    std::uint32_t inner_tid = 0;  // in the process's own PID namespace
    user_regs_struct registers{};
    std::uint64_t signal_mask = 0;
  };

  // Stops every thread of pid. Errors: not_found; unsupported when it cannot be held; timeout when a thread does not
  // stop within 2 s (it sleeps in the kernel where no signal reaches it).
  static Result<Tracee> hold(pid_t pid);
  Tracee(Tracee&&) noexcept;
  Tracee& operator=(Tracee&&) = delete;
  ~Tracee();

  pid_t pid() const { return pid_; }
  std::span<const Stopped> threads() const { return threads_; }  // the leader first

  // Errors: not_found when the process has ended.
  Status read_memory(std::uint64_t address, std::span<std::byte> into) const;
  // The system call's result, negative errno included.
  Result<std::int64_t> call(const Stopped& thread, long number, std::uint64_t a = 0, std::uint64_t b = 0,
                            std::uint64_t c = 0, std::uint64_t d = 0, std::uint64_t e = 0, std::uint64_t f = 0);
  // The same with a buffer of the tracee's stack, of `into`'s size, as the argument at index `argument`; its bytes come
  // back in `into`. The stack's own bytes are put back.
  Result<std::int64_t> call_into(const Stopped& thread, long number, std::array<std::uint64_t, 6> arguments,
                                 std::size_t argument, std::span<std::byte> into);

 private:
  explicit Tracee(pid_t pid) : pid_(pid) {}
  Status hold_threads();
  Status find_syscall_instruction();
  Status read_states();
  void let_go();

  pid_t pid_ = -1;
  UniqueFd memory_;
  std::vector<Stopped> threads_;
  std::uint64_t syscall_address_ = 0;
};

// The number of process `pid` in its innermost PID namespace. Errors: not_found.
Result<std::uint32_t> inner_id(const std::string& task_folder);

}  // namespace thaw::snapshot
