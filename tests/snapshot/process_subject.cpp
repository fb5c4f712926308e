// What a process is beside memory and descriptors: registers, threads, signals, timers, settings; see subject.h.
#include <immintrin.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "subject.h"

namespace {

using subject::expect;
using subject::require;

pid_t own_tid() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

template <class Condition>
bool becomes_true(Condition condition) {
  for (int look = 0; look < 10'000; ++look) {
    if (condition()) return true;
    ::usleep(1000);
  }
  return false;
}

// ---- Vector registers that live in a loop across the freeze ----

struct Lanes {
  alignas(64) std::uint64_t words[4][8];
};
std::atomic<std::uint32_t> spins{0};
std::uint32_t stop_spinning = 0;
std::atomic<bool> spun{false};
Lanes loaded;
Lanes stored;
std::uint64_t mask_stored = 0;

void fill_lanes() {
  for (std::uint64_t i = 0; i < 32; ++i) loaded.words[i / 8][i % 8] = 0x0101010101010101 * (i + 1) ^ i << 57;
}

// Nothing but the loop runs between loads and stores: the registers are the only place where the values are.
__attribute__((target("avx2"))) void spin_avx() {
  asm volatile(R"(
    vmovdqa (%0), %%ymm0
    vmovdqa 64(%0), %%ymm7
    vmovdqa 128(%0), %%ymm14
    vmovdqa 192(%0), %%ymm15
  1:
    lock incl (%2)
    pause
    cmpl $0, (%3)
    je 1b
    vmovdqa %%ymm0, (%1)
    vmovdqa %%ymm7, 64(%1)
    vmovdqa %%ymm14, 128(%1)
    vmovdqa %%ymm15, 192(%1)
  )"
               :
               : "r"(&loaded), "r"(&stored), "r"(&spins), "r"(&stop_spinning)
               : "ymm0", "ymm7", "ymm14", "ymm15", "memory", "cc");
  spun = true;
}

__attribute__((target("avx512f,avx512bw"))) void spin_avx512() {
  asm volatile(R"(
    vmovdqa64 (%0), %%zmm0
    vmovdqa64 64(%0), %%zmm15
    vmovdqa64 128(%0), %%zmm16
    vmovdqa64 192(%0), %%zmm31
    movabs $0x123456789abcdef0, %%rax
    kmovq %%rax, %%k5
  1:
    lock incl (%2)
    pause
    cmpl $0, (%3)
    je 1b
    vmovdqa64 %%zmm0, (%1)
    vmovdqa64 %%zmm15, 64(%1)
    vmovdqa64 %%zmm16, 128(%1)
    vmovdqa64 %%zmm31, 192(%1)
    kmovq %%k5, %%rax
    mov %%rax, %4
  )"
               :
               : "r"(&loaded), "r"(&stored), "r"(&spins), "r"(&stop_spinning), "m"(mask_stored)
               : "rax", "xmm0", "xmm15", "xmm16", "xmm31", "k5", "memory", "cc");
  spun = true;
}

void make_registers(void (*spin)()) {
  fill_lanes();
  std::thread(spin).detach();
  require(becomes_true([] { return spins > 0; }), "a thread that spins");
}

void check_registers(std::size_t words) {
  const std::uint32_t before = spins;
  expect(becomes_true([&] { return spins != before; }), "that the thread goes on");
  __atomic_store_n(&stop_spinning, 1, __ATOMIC_SEQ_CST);
  expect(becomes_true([] { return spun.load(); }), "that the thread ends");
  for (std::size_t lane = 0; lane < 4; ++lane)
    expect(std::memcmp(loaded.words[lane], stored.words[lane], words * 8) == 0, "register " + std::to_string(lane));
}

void make_avx() {
  if (!__builtin_cpu_supports("avx2")) subject::skip("this CPU has no AVX2");
  make_registers(spin_avx);
}

void make_avx512() {
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw"))
    subject::skip("this CPU has no AVX-512");
  make_registers(spin_avx512);
}

void check_avx512() {
  check_registers(8);
  expect(mask_stored == 0x123456789abcdef0, "a mask register");
}

// ---- Threads ----

struct Sleeper {
  pid_t tid = 0;
  int nice = 0;
  int policy = SCHED_OTHER;
  unsigned long slack = 50'000;
};
Sleeper sleepers[3] = {{.nice = 5}, {.policy = SCHED_BATCH}, {.policy = SCHED_IDLE, .slack = 777'000}};
std::atomic<int> asleep{0};
std::atomic<int> awake{0};
std::atomic<bool> wake{false};
pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

void sleep_and_look(Sleeper& me) {
  me.tid = own_tid();
  const sched_param none{};
  if (me.policy != SCHED_OTHER) require(::sched_setscheduler(0, me.policy, &none) == 0, "sched_setscheduler");
  if (me.nice != 0) require(::setpriority(PRIO_PROCESS, 0, me.nice) == 0, "setpriority");
  require(::prctl(PR_SET_TIMERSLACK, me.slack) == 0, "PR_SET_TIMERSLACK");
  ::pthread_setname_np(::pthread_self(), "sleeper");
  pthread_mutex_lock(&lock);
  ++asleep;
  while (!wake) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  expect(own_tid() == me.tid, "a thread's number");
  expect(::sched_getscheduler(0) == me.policy, "a thread's policy");
  expect(::getpriority(PRIO_PROCESS, 0) == me.nice, "a thread's nice value");
  expect(static_cast<unsigned long>(::prctl(PR_GET_TIMERSLACK)) == me.slack, "a thread's timer slack");
  char name[16] = {};
  ::pthread_getname_np(::pthread_self(), name, sizeof(name));
  expect(std::strcmp(name, "sleeper") == 0, "a thread's name");
  ++awake;
}

void make_threads() {
  for (Sleeper& sleeper : sleepers) std::thread(sleep_and_look, std::ref(sleeper)).detach();
  require(becomes_true([] { return asleep == 3; }), "threads that sleep");
}

void check_threads() {
  pthread_mutex_lock(&lock);
  wake = true;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  expect(becomes_true([] { return awake == 3; }), "that all wake");
  std::atomic<int> born{0};
  std::vector<std::thread> more;
  for (int i = 0; i < 8; ++i) more.emplace_back([&] { ++born; });
  for (std::thread& thread : more) thread.join();
  expect(born == 8, "new threads");
  const pid_t child = ::fork();
  if (child == 0) {
    int seen = 0;
    std::thread([&] { seen = 7; }).join();
    ::_exit(seen);
  }
  int status = 0;
  expect(::waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7, "a child with a thread of its own");
}

// ---- Signals and timers ----

std::vector<int> signals_in_order;
std::atomic<int> alarms{0};
timer_t posix_timers[3];
timespec monotonic_before;
timespec real_before;

void make_signals() {
  // The second of three is deleted, so that the numbers of the others do not follow one another.
  for (timer_t& timer : posix_timers) {
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGRTMIN + 1;
    require(::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer_create");
  }
  require(::timer_delete(posix_timers[1]) == 0, "timer_delete");
  struct sigaction action {};
  action.sa_handler = [](int) { ++alarms; };
  ::sigaction(SIGRTMIN + 1, &action, nullptr);
  ::sigaction(SIGVTALRM, &action, nullptr);
  const itimerspec soon{{0, 5'000'000}, {0, 5'000'000}};
  const itimerspec far{{0, 0}, {7200, 0}};
  require(::timer_settime(posix_timers[0], 0, &soon, nullptr) == 0, "timer_settime");
  require(::timer_settime(posix_timers[2], 0, &far, nullptr) == 0, "timer_settime");
  const itimerval far_too{{9, 0}, {5400, 0}};
  require(::setitimer(ITIMER_REAL, &far_too, nullptr) == 0, "setitimer");
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : {SIGUSR1, SIGRTMIN + 4, SIGRTMIN + 5}) sigaddset(&blocked, signal);
  ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  for (const auto& [signal, value] :
       {std::pair(SIGRTMIN + 5, 1), std::pair(SIGRTMIN + 4, 2), std::pair(SIGRTMIN + 4, 3)}) {
    sigval with{};
    with.sival_int = value;
    require(::sigqueue(::getpid(), signal, with) == 0, "sigqueue");
  }
  require(::pthread_kill(::pthread_self(), SIGUSR1) == 0, "pthread_kill");
  ::clock_gettime(CLOCK_MONOTONIC, &monotonic_before);
  ::clock_gettime(CLOCK_REALTIME, &real_before);
}

bool is_after(clockid_t clock, const timespec& before) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now.tv_sec > before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec >= before.tv_nsec);
}

void check_signals() {
  expect(is_after(CLOCK_MONOTONIC, monotonic_before) && is_after(CLOCK_REALTIME, real_before),
         "that clocks go forward");
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int signal : {SIGUSR1, SIGRTMIN + 4, SIGRTMIN + 5}) sigaddset(&wanted, signal);
  const timespec none{};
  const struct {
    int signal;
    int value;
  } expected[] = {{SIGUSR1, 0}, {SIGRTMIN + 4, 2}, {SIGRTMIN + 4, 3}, {SIGRTMIN + 5, 1}};
  for (const auto& [signal, value] : expected) {
    siginfo_t info{};
    expect(::sigtimedwait(&wanted, &info, &none) == signal && (value == 0 || info.si_value.sival_int == value),
           "signal " + std::to_string(signal) + " that waited");
  }
  siginfo_t more{};
  expect(::sigtimedwait(&wanted, &more, &none) < 0, "that no other signal waits");
  const int before = alarms;
  expect(becomes_true([&] { return alarms > before + 2; }), "that a POSIX timer goes on");
  itimerspec left{};
  expect(::timer_gettime(posix_timers[2], &left) == 0 && left.it_value.tv_sec > 7000 && left.it_value.tv_sec <= 7200,
         "what is left of a POSIX timer");
  expect(::timer_gettime(posix_timers[1], &left) != 0, "that a deleted timer stays deleted");
  itimerval real{};
  expect(::getitimer(ITIMER_REAL, &real) == 0 && real.it_value.tv_sec > 5000 && real.it_interval.tv_sec == 9,
         "an interval timer");
  struct sigaction action {};
  expect(::sigaction(SIGVTALRM, nullptr, &action) == 0 && action.sa_handler != SIG_DFL, "a signal's action");
}

// ---- Settings ----

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

void make_settings() {
  ::umask(037);
  require(::chdir("/usr/lib") == 0, "chdir");
  std::ofstream("/proc/self/oom_score_adj") << "612";
  require(first_line("/proc/self/oom_score_adj") == "612", "oom_score_adj");
  require(::personality(ADDR_NO_RANDOMIZE) >= 0, "personality");
  require(::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "prctl");
  const rlimit files{123, 456};
  require(::setrlimit(RLIMIT_NOFILE, &files) == 0, "setrlimit");
}

void check_settings() {
  expect(::umask(037) == 037, "umask");
  char folder[64] = {};
  expect(::getcwd(folder, sizeof(folder)) != nullptr && std::strcmp(folder, "/usr/lib") == 0, "the working directory");
  expect(first_line("/proc/self/oom_score_adj") == "612", "oom_score_adj");
  expect(::personality(0xffffffff) == ADDR_NO_RANDOMIZE, "the personality");
  int subreaper = 0;
  ::prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
  expect(::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1 && subreaper == 1, "what prctl set");
  rlimit files{};
  expect(::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur == 123 && files.rlim_max == 456, "limits");
}

// ---- What refuses ----

void take_precedence() {
  sched_param first{};
  first.sched_priority = 1;
  if (::sched_setscheduler(0, SCHED_FIFO, &first) != 0) subject::skip("SCHED_FIFO is not to be had");
}

void have_child() {
  if (::fork() == 0) ::_exit(::pause());
}

void leave_orphan() {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::fork() == 0) ::pause();
    ::_exit(0);
  }
  int status = 0;
  require(::waitpid(child, &status, 0) == child, "waitpid");
}

void filter_itself() {
  sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program{1, all};
  require(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
          "a seccomp filter");
}

}  // namespace

int main(int argc, char** argv) {
  return subject::run(
      argc, argv,
      {{"avx", make_avx, [] { check_registers(4); }},
       {"avx512", make_avx512, check_avx512},
       {"threads", make_threads, check_threads},
       {"signals", make_signals, check_signals},
       {"settings", make_settings, check_settings},
       {"child", have_child, [] {}},
       {"orphan", leave_orphan, [] {}},
       {"filter", filter_itself, [] {}},
       {"real-time", take_precedence, [] {}},
       {"other-personality", [] { require(::personality(ADDR_COMPAT_LAYOUT) >= 0, "personality"); }, [] {}}});
}
