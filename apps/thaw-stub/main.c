/* PID 1 of every environment. The kernel ignores signals with default action when they are sent to PID 1, and gives it
 * every orphan; so the function must not be PID 1. This program runs the function as PID 2, reaps every child, forwards
 * signals to the function, reports how it started and ended on descriptor 3 (sandbox/stub_report.h) and ends with it:
 * the kernel then kills whatever else is in the PID namespace.
 *
 *   thaw-stub COMMAND [ARGUMENT...]      the environment variables are the function's
 *   thaw-stub                            the function is there already, restored from a snapshot as PID 2
 *
 * It is started with no privileges left and with the seccomp filter installed. It also ends when descriptor 3's other
 * end closes: the spawner is gone.
 *
 * Freestanding: no libc, no memory allocation, system calls only. */
#include <asm/unistd.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/signal.h>
#include <linux/types.h>

#include "sandbox/stub_report.h"

#if defined(__x86_64__)
static long call6(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
__asm__(
    ".globl _start\n"
    "_start:\n"
    "  xor %ebp, %ebp\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    "  call stub_main\n"
    "  hlt\n");
#elif defined(__aarch64__)
static long call6(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
__asm__(
    ".globl _start\n"
    "_start:\n"
    "  mov x29, #0\n"
    "  mov x30, #0\n"
    "  mov x0, sp\n"
    "  bl stub_main\n"
    "  brk #1\n");
#else
#error "thaw-stub knows x86-64 and aarch64"
#endif

enum {
  kRestoredFunction = 2,
  kSigKill = 9,
  kSigChild = 17,
  kSetMask = 2,
  kSignalSetBytes = 8,
  kCloseOnExec = 02000000, /* O_CLOEXEC and SFD_CLOEXEC */
  kSetFd = 2,              /* F_SETFD */
  kFdCloseOnExec = 1,      /* FD_CLOEXEC */
  kWaitNoHang = 1,         /* WNOHANG */
  kWaitAll = 0x40000000,   /* __WALL */
  kInterrupted = -4,       /* EINTR */
  kNoEntry = -2,           /* ENOENT */
  kNotDirectory = -20,     /* ENOTDIR */
  kNoAccess = -13,         /* EACCES */
  kPathBytesMax = 4096,
  kSignalInfoBytes = 128, /* struct signalfd_siginfo */
};

static long call3(long number, long a, long b, long c) { return call6(number, a, b, c, 0, 0, 0); }

static void __attribute__((noreturn)) leave(int code) {
  for (;;) call3(__NR_exit_group, code, 0, 0);
}

static void report(unsigned kind, int value) {
  const struct thaw_stub_report message = {kind, value};
  while (call3(__NR_write, THAW_STUB_REPORT_FD, (long)&message, sizeof(message)) == kInterrupted) {
  }
}

static const char* find_path(char** variables) {
  for (; *variables != 0; ++variables) {
    const char* v = *variables;
    if (v[0] == 'P' && v[1] == 'A' && v[2] == 'T' && v[3] == 'H' && v[4] == '=') return v + 5;
  }
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* execvp(3): a name without a slash is looked for along PATH. Returns the negative errno when nothing could be run. */
static long run_command(char** command, char** variables) {
  const char* name = command[0];
  for (const char* c = name; *c != 0; ++c) {
    if (*c == '/') return call3(__NR_execve, (long)name, (long)command, (long)variables);
  }
  if (*name == 0) return kNoEntry;
  long result = kNoEntry;
  const char* folder = find_path(variables);
  for (;;) {
    char path[kPathBytesMax];
    unsigned length = 0;
    for (; *folder != 0 && *folder != ':'; ++folder) {
      if (length < kPathBytesMax / 2) path[length++] = *folder;
    }
    if (length == 0) path[length++] = '.';
    path[length++] = '/';
    const char* c = name;
    for (; *c != 0 && length < kPathBytesMax - 1; ++c) path[length++] = *c;
    path[length] = 0;
    if (*c == 0) {
      const long failed = call3(__NR_execve, (long)path, (long)command, (long)variables);
      if (failed == kNoAccess) result = kNoAccess;
      if (failed != kNoAccess && failed != kNoEntry && failed != kNotDirectory) return failed;
    }
    if (*folder == 0) return result;
    ++folder;
  }
}

/* Starts the function; its process id, or leaves. The pipe closes without a byte when execve has succeeded. */
static long start_function(char** command, char** variables) {
  int ends[2];
  long failed = call3(__NR_pipe2, (long)ends, kCloseOnExec, 0);
  /* The order of clone's last arguments differs between architectures; all are zero. */
  const long child = failed < 0 ? failed : call6(__NR_clone, kSigChild, 0, 0, 0, 0, 0);
  if (child == 0) {
    const unsigned long none = 0;
    call6(__NR_rt_sigprocmask, kSetMask, (long)&none, 0, kSignalSetBytes, 0, 0);
    call3(__NR_setsid, 0, 0, 0);
    const int error = (int)-run_command(command, variables);
    call3(__NR_write, ends[1], (long)&error, sizeof(error));
    leave(127);
  }
  if (child < 0) {
    report(THAW_STUB_EXEC_FAILED, (int)-child);
    leave(127);
  }
  call3(__NR_close, ends[1], 0, 0);
  int error = 0;
  long count;
  do {
    count = call3(__NR_read, ends[0], (long)&error, sizeof(error));
  } while (count == kInterrupted);
  call3(__NR_close, ends[0], 0, 0);
  if (count == sizeof(error)) {
    report(THAW_STUB_EXEC_FAILED, error);
    leave(127);
  }
  report(THAW_STUB_RUNNING, 0);
  return child;
}

static void reap_children(long function) {
  for (;;) {
    int status = 0;
    const long pid = call6(__NR_wait4, -1, (long)&status, kWaitNoHang | kWaitAll, 0, 0, 0);
    if (pid <= 0) return;
    if (pid != function) continue;
    report(THAW_STUB_ENDED, status);
    leave((status & 0x7f) != 0 ? 128 + (status & 0x7f) : (status >> 8) & 0xff);
  }
}

void __attribute__((noreturn, used)) stub_main(long* stack) {
  const long count = stack[0];
  char** arguments = (char**)(stack + 1);
  char** variables = arguments + count + 1;

  call6(__NR_prctl, PR_SET_PDEATHSIG, kSigKill, 0, 0, 0, 0);
  /* The function has the same user id: it must not trace PID 1 or read its memory. */
  call6(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0);
  call3(__NR_fcntl, THAW_STUB_REPORT_FD, kSetFd, kFdCloseOnExec);

  const unsigned long all = ~0UL;
  call6(__NR_rt_sigprocmask, kSetMask, (long)&all, 0, kSignalSetBytes, 0, 0);
  const long signals = call6(__NR_signalfd4, -1, (long)&all, kSignalSetBytes, kCloseOnExec, 0, 0);
  if (signals < 0) {
    report(THAW_STUB_EXEC_FAILED, (int)-signals);
    leave(125);
  }
  const long function = count < 2 ? kRestoredFunction : start_function(arguments + 1, variables);
  if (count < 2) reap_children(function); /* it may have ended before there was somebody to hear of it */

  struct pollfd watched[2] = {{(int)signals, POLLIN, 0}, {THAW_STUB_REPORT_FD, 0, 0}};
  for (;;) {
    watched[0].revents = watched[1].revents = 0;
    call6(__NR_ppoll, (long)watched, 2, 0, 0, 0, 0);
    if ((watched[1].revents & (POLLHUP | POLLERR)) != 0) leave(126);
    if ((watched[0].revents & POLLIN) == 0) continue;
    union {
      char bytes[kSignalInfoBytes];
      __u32 number; /* ssi_signo comes first */
    } info;
    if (call3(__NR_read, signals, (long)&info, sizeof(info)) != sizeof(info)) continue;
    if (info.number == kSigChild) {
      reap_children(function);
    } else {
      call3(__NR_kill, function, (long)info.number, 0);
    }
  }
}
