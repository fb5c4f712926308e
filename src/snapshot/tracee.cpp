#include "snapshot/tracee.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <set>
#include <tuple>

#include "base/sys.h"

namespace thaw::snapshot {
namespace {

constexpr int kFaultsMax = 8;
constexpr auto kStopMax = std::chrono::seconds(10);  // on a busy machine threads wait long for their turn
constexpr std::size_t kProcFileBytesMax = 16 << 20;
constexpr std::size_t kRedZoneBytes = 128;  // below a stack pointer, owned by the function that runs (System V ABI)
constexpr std::size_t kVdsoBytesMax = 64 << 10;
// Whoever holds it may be killed at a moment when the process is not as it was: then it must not run on.
constexpr int kHeldOptions = PTRACE_O_SUSPEND_SECCOMP | PTRACE_O_EXITKILL;

Status trace(int request, pid_t tid, void* address, void* data, const char* what) {
  if (::ptrace(static_cast<__ptrace_request>(request), tid, address, data) == -1) return sys::errno_error(what);
  return {};
}

void* as_pointer(std::uint64_t value) { return reinterpret_cast<void*>(value); }

// Waits for a stop of the thread; its wait status.
Result<int> wait_stop(pid_t tid) {
  const auto until = std::chrono::steady_clock::now() + kStopMax;
  for (int look = 0;; ++look) {
    int status = 0;
    const pid_t got = ::waitpid(tid, &status, __WALL | WNOHANG);
    if (got < 0 && errno != EINTR) return sys::errno_error("waitpid");
    if (got == tid) {
      if (!WIFSTOPPED(status)) return Error{ErrorKind::not_found, "a thread ended while it was being stopped"};
      return status;
    }
    if (std::chrono::steady_clock::now() > until) {
      return Error{ErrorKind::timeout, "thread " + std::to_string(tid) + " cannot be stopped: it waits in the kernel"};
    }
    // Stops come within microseconds, so look often at first.
    const timespec pause{0, look < 200 ? 5'000 : 500'000};
    ::nanosleep(&pause, nullptr);
  }
}

// Stops the thread by PTRACE_INTERRUPT, letting signals that come first reach it.
Status interrupt(pid_t tid) {
  RETURN_IF_ERROR(trace(PTRACE_INTERRUPT, tid, nullptr, nullptr, "interrupt a thread"));
  for (;;) {
    ASSIGN_OR_RETURN(const int status, wait_stop(tid));
    if (status >> 16 == PTRACE_EVENT_STOP) return {};
    const auto signal = static_cast<std::uint64_t>(WSTOPSIG(status));
    RETURN_IF_ERROR(trace(PTRACE_CONT, tid, nullptr, as_pointer(signal), "continue a thread"));
  }
}

Result<std::vector<pid_t>> list_threads(pid_t pid) {
  DIR* folder = ::opendir(("/proc/" + std::to_string(pid) + "/task").c_str());
  if (folder == nullptr) return Error{ErrorKind::not_found, "the process has ended"};
  std::vector<pid_t> tids;
  while (const dirent* entry = ::readdir(folder)) {
    if (const int tid = std::atoi(entry->d_name); tid > 0) tids.push_back(tid);
  }
  ::closedir(folder);
  return tids;
}

}  // namespace

Result<std::uint32_t> inner_id(const std::string& task_folder) {
  ASSIGN_OR_RETURN(const std::string status, sys::read_file(task_folder + "/status", kProcFileBytesMax));
  const std::size_t at = status.find("\nNSpid:");
  if (at == std::string::npos) return Error{ErrorKind::unsupported, "this kernel has no PID namespaces"};
  const std::size_t end = status.find('\n', at + 1);
  const std::size_t last = status.find_last_of("\t ", end);
  return static_cast<std::uint32_t>(std::stoul(status.substr(last + 1, end - last - 1)));
}

Result<Tracee> Tracee::hold(pid_t pid) {
  Tracee tracee(pid);
  RETURN_IF_ERROR(tracee.hold_threads());
  ASSIGN_OR_RETURN(tracee.memory_, sys::open("/proc/" + std::to_string(pid) + "/mem", O_RDONLY));
  RETURN_IF_ERROR(tracee.find_syscall_instruction());
  RETURN_IF_ERROR(tracee.read_states());
  return tracee;
}

Tracee::Tracee(Tracee&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      memory_(std::move(other.memory_)),
      threads_(std::move(other.threads_)),
      syscall_address_(other.syscall_address_) {
  other.threads_.clear();
}

Tracee::~Tracee() { let_go(); }

// New threads may be born while their elders are being stopped: it is whole when a pass finds nobody new.
Status Tracee::hold_threads() {
  std::set<pid_t> known;
  for (bool again = true; again;) {
    again = false;
    ASSIGN_OR_RETURN(const std::vector<pid_t> tids, list_threads(pid_));
    for (const pid_t tid : tids) {
      if (!known.insert(tid).second) continue;
      again = true;
      if (Status seized = trace(PTRACE_SEIZE, tid, nullptr, as_pointer(kHeldOptions), "hold a thread"); !seized.ok()) {
        if (errno == ESRCH && tid != pid_) continue;  // it has ended meanwhile
        return seized;
      }
      if (Status stopped = interrupt(tid); !stopped.ok()) {
        if (stopped.error().kind == ErrorKind::not_found && tid != pid_) continue;
        threads_.push_back({.tid = tid});
        return stopped;
      }
      threads_.push_back({.tid = tid});
    }
  }
  std::sort(threads_.begin(), threads_.end(), [this](const Stopped& a, const Stopped& b) {
    return std::tuple(a.tid != pid_, a.tid) < std::tuple(b.tid != pid_, b.tid);
  });
  for (Stopped& thread : threads_) {
    ASSIGN_OR_RETURN(thread.inner_tid,
                     inner_id("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(thread.tid)));
  }
  return {};
}

Status Tracee::read_states() {
  for (Stopped& thread : threads_) {
    user_regs_struct& registers = thread.registers;
    RETURN_IF_ERROR(trace(PTRACE_GETREGS, thread.tid, nullptr, &registers, "read registers"));
    // These give up with EINTR whatever stopped them, and not every caller expects that: they wait again instead.
    const auto number = static_cast<std::int64_t>(registers.orig_rax);
    const bool waits = number == SYS_epoll_wait || number == SYS_epoll_pwait || number == SYS_epoll_pwait2;
    if (waits && static_cast<std::int64_t>(registers.rax) == -EINTR) {
      registers.rax = registers.orig_rax;
      registers.orig_rax = ~0ULL;
      registers.rip -= 2;
      RETURN_IF_ERROR(trace(PTRACE_SETREGS, thread.tid, nullptr, &registers, "set registers"));
    }
    RETURN_IF_ERROR(trace(PTRACE_GETSIGMASK, thread.tid, as_pointer(8), &thread.signal_mask, "read a signal mask"));
  }
  return {};
}

Status Tracee::find_syscall_instruction() {
  ASSIGN_OR_RETURN(const std::string maps,
                   sys::read_file("/proc/" + std::to_string(pid_) + "/maps", kProcFileBytesMax));
  const std::size_t name = maps.find("[vdso]");
  if (name == std::string::npos) return Error{ErrorKind::unsupported, "the process has no vdso"};
  const std::size_t line = maps.rfind('\n', name) + 1;
  const std::uint64_t start = std::stoull(maps.substr(line), nullptr, 16);
  const std::uint64_t end = std::stoull(maps.substr(maps.find('-', line) + 1), nullptr, 16);
  std::vector<std::byte> code(std::min<std::uint64_t>(end - start, kVdsoBytesMax));
  RETURN_IF_ERROR(read_memory(start, code));
  for (std::size_t i = 0; i + 1 < code.size(); ++i) {
    if (code[i] == std::byte{0x0f} && code[i + 1] == std::byte{0x05}) {
      syscall_address_ = start + i;
      return {};
    }
  }
  return Error{ErrorKind::unsupported, "the vdso holds no system call"};
}

Status Tracee::read_memory(std::uint64_t address, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t count = ::pread(memory_.get(), into.data(), into.size(), static_cast<off_t>(address));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return sys::errno_error("read the memory of a process");
    // Memory that is not there is EIO; nothing at all is that of a process without memory.
    if (count == 0) return Error{ErrorKind::not_found, "the process has ended"};
    address += static_cast<std::uint64_t>(count);
    into = into.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<std::int64_t> Tracee::call(const Stopped& thread, long number, std::uint64_t a, std::uint64_t b, std::uint64_t c,
                                  std::uint64_t d, std::uint64_t e, std::uint64_t f) {
  user_regs_struct registers = thread.registers;
  registers.rip = syscall_address_;
  registers.rax = static_cast<std::uint64_t>(number);
  registers.orig_rax = ~0ULL;  // not inside a system call: nothing is to be restarted
  registers.rdi = a;
  registers.rsi = b;
  registers.rdx = c;
  registers.r10 = d;
  registers.r8 = e;
  registers.r9 = f;
  // A signal that came in between would run its handler instead.
  std::uint64_t all = ~0ULL;
  RETURN_IF_ERROR(trace(PTRACE_SETSIGMASK, thread.tid, as_pointer(8), &all, "block signals"));
  RETURN_IF_ERROR(trace(PTRACE_SETREGS, thread.tid, nullptr, &registers, "set registers"));
  RETURN_IF_ERROR(trace(PTRACE_SINGLESTEP, thread.tid, nullptr, nullptr, "step a thread"));
  ASSIGN_OR_RETURN(int status, wait_stop(thread.tid));
  // A fault that was on its way when the thread was stopped is reported first, blocked or not. It is dropped: the
  // instruction faults again when the thread goes on.
  for (int look = 0; WSTOPSIG(status) != SIGTRAP && look < kFaultsMax; ++look) {
    RETURN_IF_ERROR(trace(PTRACE_SINGLESTEP, thread.tid, nullptr, nullptr, "step a thread"));
    ASSIGN_OR_RETURN(status, wait_stop(thread.tid));
  }
  if (WSTOPSIG(status) != SIGTRAP) {
    return internal_error("system call " + std::to_string(number) + " in a held process ended with signal " +
                          std::to_string(WSTOPSIG(status)));
  }
  RETURN_IF_ERROR(trace(PTRACE_GETREGS, thread.tid, nullptr, &registers, "read registers"));
  user_regs_struct own = thread.registers;
  std::uint64_t mask = thread.signal_mask;
  RETURN_IF_ERROR(trace(PTRACE_SETREGS, thread.tid, nullptr, &own, "set registers"));
  RETURN_IF_ERROR(trace(PTRACE_SETSIGMASK, thread.tid, as_pointer(8), &mask, "restore a signal mask"));
  return static_cast<std::int64_t>(registers.rax);
}

Result<std::int64_t> Tracee::call_into(const Stopped& thread, long number, std::array<std::uint64_t, 6> arguments,
                                       std::size_t argument, std::span<std::byte> into) {
  const std::uint64_t scratch = (thread.registers.rsp - kRedZoneBytes - into.size()) & ~0xfULL;
  ASSIGN_OR_RETURN(const UniqueFd memory, sys::open("/proc/" + std::to_string(pid_) + "/mem", O_RDWR));
  std::vector<std::byte> own(into.size());
  if (!read_memory(scratch, own).ok()) {
    // In a clone, memory that it has not touched yet is there for nobody else.
    const std::uint64_t first = scratch & ~(kPageBytes - 1);
    RETURN_IF_ERROR(call(thread, SYS_madvise, first, scratch + into.size() - first, MADV_POPULATE_READ));
    RETURN_IF_ERROR(read_memory(scratch, own));
  }
  arguments[argument] = scratch;
  auto result =
      call(thread, number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
  const Status got = read_memory(scratch, into);
  RETURN_IF_ERROR(
      sys::pwrite_all(memory, {reinterpret_cast<const char*>(own.data()), own.size()}, static_cast<off_t>(scratch)));
  RETURN_IF_ERROR(got);
  return result;
}

void Tracee::let_go() {
  for (const Stopped& thread : threads_) ::ptrace(PTRACE_DETACH, thread.tid, nullptr, nullptr);
  threads_.clear();
}

}  // namespace thaw::snapshot
