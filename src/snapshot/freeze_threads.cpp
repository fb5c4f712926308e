// Registers, signals and timers of a held process.
#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "base/sys.h"
#include "snapshot/freeze.h"
#include "snapshot/proc_files.h"
#include "snapshot/tracee.h"

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif

namespace thaw::snapshot {
namespace {

constexpr std::size_t kXstateBytesMax = 32'768;
constexpr std::size_t kXstateBvOffset = 512;  // of the XSAVE header's XSTATE_BV (Intel SDM, volume 1, 13.4.2)
constexpr std::uint64_t kTileData = 1ULL << 18;
constexpr std::size_t kPendingMax = 1024;

// Kernel-internal results of an interrupted system call (include/linux/errno.h).
constexpr std::int64_t kRestartSys = -512;
constexpr std::int64_t kRestartNoIntr = -513;
constexpr std::int64_t kRestartNoHand = -514;
constexpr std::int64_t kRestartBlock = -516;

struct RseqConfiguration {
  std::uint64_t address;
  std::uint32_t size;
  std::uint32_t signature;
  std::uint32_t flags;
  std::uint32_t pad;
};

struct PeekArguments {
  std::uint64_t offset;
  std::uint32_t flags;
  std::int32_t count;
};

// A thread that sleeps in a system call starts it again: the kernel would do the same after a signal without a handler.
void rewind_system_call(user_regs_struct& registers) {
  const auto number = static_cast<std::int64_t>(registers.orig_rax);
  const auto result = static_cast<std::int64_t>(registers.rax);
  if (number < 0) return;
  if (result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand) {
    registers.rax = registers.orig_rax;
    registers.rip -= 2;
  } else if (result == kRestartBlock) {
    // What remains of its time is known only to the kernel: the caller hears EINTR, as after a signal.
    registers.rax = static_cast<std::uint64_t>(-EINTR);
  }
  registers.orig_rax = ~0ULL;
}

Status read_xstate(pid_t tid, Thread& thread) {
  thread.xstate.resize(kXstateBytesMax);
  iovec vector{thread.xstate.data(), thread.xstate.size()};
  if (::ptrace(PTRACE_GETREGSET, tid, reinterpret_cast<void*>(NT_X86_XSTATE), &vector) != 0)
    return sys::errno_error("read the extended registers");
  thread.xstate.resize(vector.iov_len);
  std::uint64_t in_use = 0;
  std::memcpy(&in_use, thread.xstate.data() + kXstateBvOffset, sizeof(in_use));
  if ((in_use & kTileData) != 0) {
    return Error{ErrorKind::unsupported,
                 "thread " + thread.name + " holds AMX tiles: release them (_tile_release) before the snapshot"};
  }
  return {};
}

Result<std::vector<Bytes>> read_pending(pid_t tid, std::uint32_t flags) {
  std::vector<Bytes> pending;
  for (std::uint64_t offset = 0;; ++offset) {
    Bytes info(sizeof(siginfo_t));
    PeekArguments arguments{offset, flags, 1};
    const long got = ::ptrace(static_cast<__ptrace_request>(PTRACE_PEEKSIGINFO), tid, &arguments, info.data());
    if (got < 0) return sys::errno_error("read pending signals");
    if (got == 0) return pending;
    if (pending.size() == kPendingMax) return Error{ErrorKind::unsupported, "more than 1,024 signals are pending"};
    pending.push_back(std::move(info));
  }
}

struct SchedulingAttributes {  // sched_getattr(2), the first version of the structure
  std::uint32_t size;
  std::uint32_t policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime;
  std::uint64_t deadline;
  std::uint64_t period;
};

Status read_scheduling(pid_t tid, Thread& thread) {
  SchedulingAttributes attributes{};
  if (::syscall(SYS_sched_getattr, tid, &attributes, sizeof(attributes), 0) != 0)
    return sys::errno_error("sched_getattr");
  if (attributes.policy != SCHED_OTHER && attributes.policy != SCHED_BATCH && attributes.policy != SCHED_IDLE) {
    return Error{ErrorKind::unsupported,
                 "thread " + thread.name + " has a real-time scheduling policy: set SCHED_OTHER before the snapshot"};
  }
  thread.policy = attributes.policy;
  thread.nice = attributes.nice;
  ASSIGN_OR_RETURN(const std::string slack, read_proc(tid, "timerslack_ns"));
  thread.timer_slack_ns = number(slack);
  return {};
}

Status read_thread(Tracee& tracee, const Tracee::Stopped& stopped, Thread& thread) {
  const std::string folder = "task/" + std::to_string(stopped.tid);
  thread.tid = stopped.inner_tid;
  ASSIGN_OR_RETURN(thread.name, read_proc(tracee.pid(), folder + "/comm"));
  if (!thread.name.empty() && thread.name.back() == '\n') thread.name.pop_back();
  user_regs_struct registers = stopped.registers;
  rewind_system_call(registers);
  static_assert(sizeof(registers) == sizeof(thread.registers));
  std::memcpy(thread.registers.data(), &registers, sizeof(registers));
  RETURN_IF_ERROR(read_xstate(stopped.tid, thread));
  thread.signal_mask = stopped.signal_mask;

  stack_t stack{};
  ASSIGN_OR_RETURN(std::int64_t result, tracee.call_into(stopped, SYS_sigaltstack, {}, 1,
                                                         {reinterpret_cast<std::byte*>(&stack), sizeof(stack)}));
  if (result != 0) return sys::errno_error("sigaltstack", static_cast<int>(-result));
  thread.altstack_address = reinterpret_cast<std::uint64_t>(stack.ss_sp);
  thread.altstack_bytes = stack.ss_size;
  thread.altstack_flags = static_cast<std::uint32_t>(stack.ss_flags) & ~static_cast<std::uint32_t>(SS_ONSTACK);

  ASSIGN_OR_RETURN(result,
                   tracee.call_into(stopped, SYS_prctl, {PR_GET_TID_ADDRESS}, 1,
                                    {reinterpret_cast<std::byte*>(&thread.clear_child_tid), sizeof(std::uint64_t)}));
  if (result != 0) return Error{ErrorKind::unsupported, "this kernel lacks CONFIG_CHECKPOINT_RESTORE"};
  int death_signal = 0;
  ASSIGN_OR_RETURN(result, tracee.call_into(stopped, SYS_prctl, {PR_GET_PDEATHSIG}, 1,
                                            {reinterpret_cast<std::byte*>(&death_signal), sizeof(death_signal)}));
  thread.parent_death_signal = static_cast<std::uint32_t>(death_signal);

  ::syscall(SYS_get_robust_list, stopped.tid, &thread.robust_list, &thread.robust_list_bytes);
  RseqConfiguration rseq{};
  if (::ptrace(static_cast<__ptrace_request>(PTRACE_GET_RSEQ_CONFIGURATION), stopped.tid, sizeof(rseq), &rseq) > 0) {
    thread.rseq_address = rseq.address;
    thread.rseq_bytes = rseq.size;
    thread.rseq_signature = rseq.signature;
  }
  ASSIGN_OR_RETURN(thread.pending, read_pending(stopped.tid, 0));

  cpu_set_t mine;
  cpu_set_t all;
  CPU_ZERO(&all);
  const long cpus = ::sysconf(_SC_NPROCESSORS_CONF);
  for (long cpu = 0; cpu < cpus && cpu < CPU_SETSIZE; ++cpu) CPU_SET(static_cast<std::size_t>(cpu), &all);
  if (::sched_getaffinity(stopped.tid, sizeof(mine), &mine) == 0) {
    cpu_set_t both;
    CPU_AND(&both, &mine, &all);
    if (!CPU_EQUAL(&both, &all)) {
      thread.affinity.resize(sizeof(mine));
      std::memcpy(thread.affinity.data(), &mine, sizeof(mine));
    }
  }
  return read_scheduling(stopped.tid, thread);
}

// fields of /proc/PID/stat, numbered as in proc(5); the second one may hold blanks and parentheses.
Result<std::vector<std::uint64_t>> read_stat(pid_t pid) {
  ASSIGN_OR_RETURN(const std::string text, read_proc(pid, "stat"));
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::vector<std::uint64_t> numbers(3, 0);
  std::string field;
  while (rest >> field) numbers.push_back(number(field));
  if (numbers.size() < 53) return Error{ErrorKind::unsupported, "/proc/PID/stat has too few fields"};
  return numbers;
}

// The table of /proc/PID/limits, whose lines are in the order of the RLIMIT numbers' names below. prlimit(2) from
// outside would need CAP_SYS_RESOURCE, which a container's root may lack.
Status read_limits(pid_t pid, Process& process) {
  static constexpr std::array<std::pair<std::string_view, int>, kResourceLimits> kNames{{
      {"Max cpu time", RLIMIT_CPU},
      {"Max file size", RLIMIT_FSIZE},
      {"Max data size", RLIMIT_DATA},
      {"Max stack size", RLIMIT_STACK},
      {"Max core file size", RLIMIT_CORE},
      {"Max resident set", RLIMIT_RSS},
      {"Max processes", RLIMIT_NPROC},
      {"Max open files", RLIMIT_NOFILE},
      {"Max locked memory", RLIMIT_MEMLOCK},
      {"Max address space", RLIMIT_AS},
      {"Max file locks", RLIMIT_LOCKS},
      {"Max pending signals", RLIMIT_SIGPENDING},
      {"Max msgqueue size", RLIMIT_MSGQUEUE},
      {"Max nice priority", RLIMIT_NICE},
      {"Max realtime priority", RLIMIT_RTPRIO},
      {"Max realtime timeout", RLIMIT_RTTIME},
  }};
  constexpr std::size_t kNameColumns = 26;  // fs/proc/base.c, proc_pid_limits
  ASSIGN_OR_RETURN(const std::string text, read_proc(pid, "limits"));
  for (const auto& [name, resource] : kNames) {
    const std::size_t at = text.find(name);
    if (at == std::string::npos) return Error{ErrorKind::unsupported, "/proc/PID/limits lacks " + std::string(name)};
    std::istringstream line(text.substr(at + kNameColumns, text.find('\n', at) - at - kNameColumns));
    for (std::uint64_t& value : process.limits[static_cast<std::size_t>(resource)]) {
      std::string word;
      line >> word;
      value = word == "unlimited" ? RLIM_INFINITY : number(word);
    }
  }
  return {};
}

Status read_layout(Tracee& tracee, Process& process) {
  ASSIGN_OR_RETURN(const std::vector<std::uint64_t> stat, read_stat(tracee.pid()));
  process.layout = {stat[26], stat[27], stat[45], stat[46], stat[47], stat[28], stat[48], stat[49], stat[50], stat[51]};
  ASSIGN_OR_RETURN(const std::int64_t brk, tracee.call(tracee.threads().front(), SYS_brk));
  process.brk = static_cast<std::uint64_t>(brk);
  ASSIGN_OR_RETURN(const std::string vector, read_proc(tracee.pid(), "auxv"));
  const auto* bytes = reinterpret_cast<const std::byte*>(vector.data());
  process.auxiliary_vector.assign(bytes, bytes + vector.size());
  return {};
}

Result<std::string> children_of(pid_t pid) { return read_proc(pid, "task/" + std::to_string(pid) + "/children"); }

// Nobody but this process runs in its namespace: neither a child nor an orphan, whom process 1 has taken on. An orphan
// would be missing in the clones; and it could change the files under the eyes of who reads them.
Status check_alone(pid_t pid, const std::string& status) {
  ASSIGN_OR_RETURN(const std::string children, children_of(pid));
  if (!children.empty()) {
    return Error{ErrorKind::unsupported,
                 "the function has child processes: end them before the snapshot, or start them on the first request"};
  }
  const auto parent = static_cast<pid_t>(number(value_of(status, "PPid").value_or("0")));
  ASSIGN_OR_RETURN(std::string siblings, children_of(parent));
  while (siblings.ends_with(' ')) siblings.pop_back();
  if (siblings == std::to_string(pid)) return {};
  return Error{ErrorKind::unsupported,
               "the function has left processes behind that still run: end them before the snapshot"};
}

// A filter that the function has installed for itself could not be had from the kernel again, and its clones would be
// without it.
Status check_filters(const std::string& status, const FreezeRequest& request) {
  ASSIGN_OR_RETURN(const std::string own, sys::read_file("/proc/self/status", kProcFileBytesMax));
  const auto count = [](const std::string& text) { return number(value_of(text, "Seccomp_filters").value_or("0")); };
  if (count(status) <= count(own) + request.environment_filters) return {};
  return Error{ErrorKind::unsupported,
               "the function has installed a seccomp filter: install it on the first request, after the snapshot"};
}

Status read_settings(Tracee& tracee, const std::string& status, Process& process) {
  ASSIGN_OR_RETURN(const std::string score, read_proc(tracee.pid(), "oom_score_adj"));
  process.oom_score_adj = std::atoi(score.c_str());
  ASSIGN_OR_RETURN(const std::string personality, read_proc(tracee.pid(), "personality"));
  process.personality = static_cast<std::uint32_t>(number(personality, 16));
  if ((process.personality & ~kPersonalityKept) != 0)
    return Error{ErrorKind::unsupported, "the function has set a personality(2) that cannot be frozen: " + personality};
  process.huge_pages_off = value_of(status, "THP_enabled").value_or("1").starts_with('0');
  std::int32_t subreaper = 0;
  ASSIGN_OR_RETURN(const std::int64_t result,
                   tracee.call_into(tracee.threads().front(), SYS_prctl, {PR_GET_CHILD_SUBREAPER}, 1,
                                    {reinterpret_cast<std::byte*>(&subreaper), sizeof(subreaper)}));
  process.subreaper = result == 0 && subreaper != 0;
  return {};
}

Status read_signals(Tracee& tracee, Process& process) {
  const Tracee::Stopped& leader = tracee.threads().front();
  // Each question costs two switches of the CPU: only signals that are not left to their default are asked about.
  ASSIGN_OR_RETURN(const std::string status, read_proc(tracee.pid(), "status"));
  const std::uint64_t set =
      number(value_of(status, "SigCgt").value_or("0"), 16) | number(value_of(status, "SigIgn").value_or("0"), 16);
  for (std::size_t i = 0; i < kSignals; ++i) {
    if ((set >> i & 1) == 0) continue;
    const std::uint64_t signal = i + 1;
    ASSIGN_OR_RETURN(const std::int64_t result,
                     tracee.call_into(leader, SYS_rt_sigaction, {signal, 0, 0, 8}, 2,
                                      {reinterpret_cast<std::byte*>(&process.actions[i]), sizeof(process.actions[i])}));
    if (result != 0) return sys::errno_error("rt_sigaction", static_cast<int>(-result));
  }
  ASSIGN_OR_RETURN(process.pending, read_pending(leader.tid, 1 /* PTRACE_PEEKSIGINFO_SHARED */));
  return {};
}

// /proc/PID/timers: "ID: 0", "signal: 34/value", "notify: signal/pid.7", "ClockID: 1", one after the other.
Status read_timers(Tracee& tracee, Process& process) {
  const Tracee::Stopped& leader = tracee.threads().front();
  for (std::uint64_t which = 0; which < 3; ++which) {
    auto& time = process.interval_timers[which].time;
    ASSIGN_OR_RETURN(const std::int64_t result, tracee.call_into(leader, SYS_getitimer, {which}, 1,
                                                                 {reinterpret_cast<std::byte*>(&time), sizeof(time)}));
    if (result != 0) return sys::errno_error("getitimer", static_cast<int>(-result));
  }
  const auto text = read_proc(tracee.pid(), "timers");
  if (!text.ok()) return {};
  for (std::size_t at = text->find("ID: "); at != std::string::npos;) {
    if (at > 0 && (*text)[at - 1] != '\n') break;
    std::size_t next = text->find("\nID: ", at);
    const std::string_view entry = std::string_view(*text).substr(at, next == std::string::npos ? next : next - at + 1);
    PosixTimer timer;
    timer.id = static_cast<std::int32_t>(number(*value_of(entry, "ID")));
    const std::string_view signal = value_of(entry, "signal").value_or("");
    timer.signal = static_cast<std::int32_t>(number(signal));
    const std::size_t slash = signal.find('/');
    if (slash != std::string_view::npos) timer.value = number(signal.substr(slash + 1), 16);
    const std::string_view notify = value_of(entry, "notify").value_or("");
    timer.notify = notify.starts_with("none") ? SIGEV_NONE : SIGEV_SIGNAL;
    if (const std::size_t tid = notify.find("tid."); tid != std::string_view::npos) {
      timer.notify = SIGEV_THREAD_ID;
      // As the reader's namespace counts: the process knows its threads by other numbers.
      const auto outer = static_cast<pid_t>(number(notify.substr(tid + 4)));
      for (const Tracee::Stopped& thread : tracee.threads()) {
        if (thread.tid == outer) timer.tid = thread.inner_tid;
      }
    }
    timer.clock = static_cast<std::int32_t>(number(value_of(entry, "ClockID").value_or("")));
    ASSIGN_OR_RETURN(const std::int64_t result,
                     tracee.call_into(leader, SYS_timer_gettime, {static_cast<std::uint64_t>(timer.id)}, 1,
                                      {reinterpret_cast<std::byte*>(&timer.time), sizeof(timer.time)}));
    if (result != 0) return sys::errno_error("timer_gettime", static_cast<int>(-result));
    process.posix_timers.push_back(timer);
    at = next == std::string::npos ? next : next + 1;
  }
  return {};
}

}  // namespace

Status read_threads(Tracee& tracee, Image& image) {
  for (const Tracee::Stopped& stopped : tracee.threads()) {
    Thread thread;
    RETURN_IF_ERROR(read_thread(tracee, stopped, thread));
    image.threads.push_back(std::move(thread));
  }
  return {};
}

Status read_process(Tracee& tracee, const FreezeRequest& request, Image& image) {
  Process& process = image.process;
  const pid_t pid = tracee.pid();
  process.pid = image.threads.front().tid;
  ASSIGN_OR_RETURN(process.executable, read_link(proc_path(pid, "exe")));
  ASSIGN_OR_RETURN(process.executable_file, identify(proc_path(pid, "exe")));
  ASSIGN_OR_RETURN(process.working_directory, read_link(proc_path(pid, "cwd")));
  if (process.working_directory.ends_with(" (deleted)"))
    return Error{ErrorKind::unsupported, "the working directory has been deleted"};
  ASSIGN_OR_RETURN(const std::string status, read_proc(pid, "status"));
  process.umask = static_cast<std::uint32_t>(number(value_of(status, "Umask").value_or("0"), 8));
  ASSIGN_OR_RETURN(const std::int64_t dumpable, tracee.call(tracee.threads().front(), SYS_prctl, PR_GET_DUMPABLE));
  process.dumpable = dumpable == 1;
  RETURN_IF_ERROR(check_filters(status, request));
  RETURN_IF_ERROR(read_settings(tracee, status, process));
  RETURN_IF_ERROR(read_limits(pid, process));
  RETURN_IF_ERROR(read_layout(tracee, process));
  RETURN_IF_ERROR(read_signals(tracee, process));
  RETURN_IF_ERROR(read_timers(tracee, process));
  return check_alone(pid, status);
}

}  // namespace thaw::snapshot
