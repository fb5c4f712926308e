// A program that checks itself without pause: every thread keeps state whose truth it can tell, in registers, memory,
// pipes, timers and locks. It prints "ok N" ten times a second while everything is right, and "wrong: WHAT" once
// something is not.
//
//   busy_subject [THREADS]
#include <fenv.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace {

std::atomic<bool> failed{false};
constexpr std::size_t kParts = 19;
std::atomic<std::uint64_t> rounds[kParts];

void wrong(const char* what) {
  if (failed.exchange(true)) return;
  std::printf("wrong: %s\n", what);
  std::fflush(stdout);
}

// Busy, but not so that a small machine does nothing else.
void round_over(std::size_t me) {
  if (++rounds[me] % 16 == 0) ::usleep(500);
}

// Floating point in vector registers across the loop: a lost register shows at once.
void compute(std::size_t me) {
  __m128d a = _mm_set_pd(1.0, 2.0);
  const __m128d b = _mm_set_pd(1.000001, 1.000002);
  const __m128d c = _mm_set_pd(0.000001, 0.000003);
  while (!failed) {
    __m128d x = a;
    for (int i = 0; i < 2000; ++i) x = _mm_add_pd(_mm_mul_pd(x, b), c);
    __m128d y = a;
    for (int i = 0; i < 2000; ++i) y = _mm_add_pd(_mm_mul_pd(y, b), c);
    double p[2];
    double q[2];
    _mm_storeu_pd(p, x);
    _mm_storeu_pd(q, y);
    if (p[0] != q[0] || p[1] != q[1] || !std::isfinite(p[0])) wrong("vector registers");
    round_over(me);
  }
}

// Two threads that hand a number to and fro by pipes.
void echo(int from, int to) {
  std::uint64_t value = 0;
  while (::read(from, &value, sizeof(value)) == sizeof(value)) {
    ++value;
    if (::write(to, &value, sizeof(value)) != sizeof(value)) wrong("write to a pipe");
  }
  wrong("read from a pipe");
}

void ask(std::size_t me, int to, int from) {
  for (std::uint64_t value = 0; !failed; value += 2) {
    std::uint64_t sent = value;
    if (::write(to, &sent, sizeof(sent)) != sizeof(sent)) wrong("write to a pipe");
    std::uint64_t back = 0;
    if (::read(from, &back, sizeof(back)) != sizeof(back) || back != value + 1) wrong("a number through pipes");
    round_over(me);
  }
}

// Memory that comes and goes: fresh memory is zero, given-back memory is zero, the rest keeps its bytes.
void churn(std::size_t me) {
  constexpr std::size_t kBytes = 64 * 4096;
  for (std::uint64_t round = 1; !failed; ++round) {
    auto* memory = static_cast<std::uint64_t*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory == MAP_FAILED) return wrong("mmap");
    for (std::size_t i = 0; i < kBytes / 8; i += 64) {
      if (memory[i] != 0) wrong("fresh memory is not zero");
      memory[i] = round + i;
    }
    ::madvise(memory, kBytes / 2, MADV_DONTNEED);
    for (std::size_t i = 0; i < kBytes / 8; i += 64) {
      if (memory[i] != (i < kBytes / 16 ? 0 : round + i)) wrong("memory after MADV_DONTNEED");
    }
    auto* moved = static_cast<std::uint64_t*>(::mremap(memory, kBytes, kBytes * 2, MREMAP_MAYMOVE));
    if (moved == MAP_FAILED) return wrong("mremap");
    for (std::size_t i = kBytes / 16; i < kBytes / 8; i += 64) {
      if (moved[i] != round + i) wrong("memory after mremap");
    }
    ::munmap(moved, kBytes * 2);
    round_over(me);
  }
}

std::mutex lock;
std::condition_variable turned;
std::uint64_t turn = 0;

// Futexes: two threads that take turns.
void take_turns(std::size_t me, std::uint64_t parity) {
  while (!failed) {
    std::unique_lock held(lock);
    turned.wait(held, [&] { return turn % 2 == parity || failed; });
    ++turn;
    turned.notify_all();
    round_over(me);
  }
}

// Epoll, eventfd and a repeating timer.
void watch(std::size_t me) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  const int timer = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const itimerspec every{{0, 2'000'000}, {0, 2'000'000}};
  ::timerfd_settime(timer, 0, &every, nullptr);
  for (const int fd : {timer, event}) {
    epoll_event wanted{EPOLLIN, {.fd = fd}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted);
  }
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  timespec last{};
  while (!failed) {
    epoll_event events[4];
    const int count = ::epoll_wait(epoll, events, 4, 5000);
    if (count < 0) wrong("epoll_wait");
    if (count == 0) wrong("the timer no longer fires");
    for (int i = 0; i < count; ++i) {
      std::uint64_t value = 0;
      if (::read(events[i].data.fd, &value, sizeof(value)) != sizeof(value)) continue;
      if (events[i].data.fd == event) {
        received += value;
      } else {
        const std::uint64_t one = 1;
        if (::write(event, &one, sizeof(one)) == sizeof(one)) ++sent;
      }
    }
    if (received > sent || sent - received > 1) wrong("the eventfd's count");
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec < last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec))
      wrong("the clock ran back");
    last = now;
    round_over(me);
  }
}

// New threads, each with thread-local state.
thread_local std::uint64_t mine = 7;
void breed(std::size_t me) {
  while (!failed) {
    std::uint64_t seen = 0;
    std::thread([&] {
      mine *= 6;
      seen = mine;
    }).join();
    if (seen != 42 || mine != 7) wrong("thread-local state");
    if (::getpid() != 2) wrong("the process id");
    round_over(me);
  }
}

std::atomic<std::uint64_t> signals_seen{0};
void on_signal(int) { ++signals_seen; }

// Signals to itself, on an alternate stack, while a system call waits.
void signal_itself(std::size_t me) {
  std::vector<char> stack(64 * 1024);
  stack_t alternate{};
  alternate.ss_sp = stack.data();
  alternate.ss_size = stack.size();
  ::sigaltstack(&alternate, nullptr);
  const pid_t tid = static_cast<pid_t>(::syscall(SYS_gettid));
  for (std::uint64_t sent = 0; !failed; ++sent) {
    if (signals_seen != sent) wrong("a signal is missing");
    ::syscall(SYS_tgkill, ::getpid(), tid, SIGUSR1);
    stack_t now{};
    ::sigaltstack(nullptr, &now);
    if (now.ss_sp != stack.data()) wrong("the alternate stack");
    if (static_cast<pid_t>(::syscall(SYS_gettid)) != tid) wrong("the thread id");
    const timespec pause{0, 200'000};
    ::nanosleep(&pause, nullptr);
    round_over(me);
  }
}

// ---- Registers that stay loaded while the thread is stopped ----

constexpr int kSpins = 40'000;  // some tens of microseconds

#define LOAD_YMM(i) "vmovdqu " #i "*32(%[in]), %%ymm" #i "\n\t"
#define STORE_YMM(i) "vmovdqu %%ymm" #i ", " #i "*32(%[out])\n\t"
#define LOAD_ZMM(i) "vmovdqu64 " #i "*64(%[in]), %%zmm" #i "\n\t"
#define STORE_ZMM(i) "vmovdqu64 %%zmm" #i ", " #i "*64(%[out])\n\t"
#define SIXTEEN(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define SIXTEEN_MORE(f) f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23) f(24) f(25) f(26) f(27) f(28) f(29) f(30) f(31)
#define SPIN "1: decl %[spins]\n\tjnz 1b\n\t"
#define SIXTEEN_CLOBBERS                                                                                              \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"

__attribute__((target("avx"))) void hold_ymm(const std::uint8_t* in, std::uint8_t* out) {
  int spins = kSpins;
  asm volatile(SIXTEEN(LOAD_YMM) SPIN SIXTEEN(STORE_YMM) "vzeroupper\n\t"
               : [spins] "+r"(spins)
               : [in] "r"(in), [out] "r"(out)
               : "memory", "cc", SIXTEEN_CLOBBERS);
}

// All 32 registers, and a mask register.
__attribute__((target("avx512f"))) void hold_zmm(const std::uint8_t* in, std::uint8_t* out, std::uint32_t& mask) {
  int spins = kSpins;
  asm volatile("kmovw %[mask], %%k3\n\t" SIXTEEN(LOAD_ZMM)
                   SIXTEEN_MORE(LOAD_ZMM) "xorl %[mask], %[mask]\n\t" SPIN SIXTEEN(STORE_ZMM)
                       SIXTEEN_MORE(STORE_ZMM) "kmovw %%k3, %[mask]\n\tvzeroupper\n\t"
               : [spins] "+r"(spins), [mask] "+r"(mask)
               : [in] "r"(in), [out] "r"(out)
               : "memory", "cc", "k3", SIXTEEN_CLOBBERS, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
                 "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}

void hold_vectors(std::size_t me) {
  std::uint8_t in[32 * 64];
  std::uint8_t out[32 * 64];
  const bool avx = __builtin_cpu_supports("avx");
  const bool avx512 = __builtin_cpu_supports("avx512f");
  for (std::uint32_t round = 1; !failed; ++round) {
    for (std::size_t i = 0; i < sizeof(in); ++i) in[i] = static_cast<std::uint8_t>(round * 31 + i * 7 + i / 64);
    if (avx) {
      hold_ymm(in, out);
      if (std::memcmp(in, out, 16 * 32) != 0) wrong("the AVX registers");
    }
    if (avx512) {
      std::uint32_t mask = round & 0xFFFF;
      hold_zmm(in, out, mask);
      if (std::memcmp(in, out, sizeof(in)) != 0) wrong("the AVX-512 registers");
      if (mask != (round & 0xFFFF)) wrong("an AVX-512 mask register");
    }
    round_over(me);
  }
}

// The x87 stack, and how this thread rounds: MXCSR and the x87 control word.
void hold_fpu(std::size_t me) {
  ::fesetround(FE_UPWARD);
  volatile double one = 1.0;
  volatile double three = 3.0;
  const double upward = one / three;
  for (std::uint64_t round = 1; !failed; ++round) {
    std::uint64_t value = round * 3;
    std::uint64_t kept = 0;
    std::uint64_t below = 0;
    int spins = kSpins;
    asm volatile("fildq %[value]\n\tfld1\n\tfildq %[value]\n\t" SPIN
                 "fistpq %[kept]\n\tfstp %%st(0)\n\tfistpq %[below]\n\t"
                 : [spins] "+r"(spins), [kept] "=m"(kept), [below] "=m"(below)
                 : [value] "m"(value)
                 : "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
    if (kept != value || below != value) wrong("the x87 stack");
    if (::fegetround() != FE_UPWARD || one / three != upward) wrong("the rounding mode");
    round_over(me);
  }
}

// ---- Locks, timers and queues in the kernel ----

pthread_mutex_t inheriting;
pthread_mutex_t robust;
std::uint64_t inherited[2] = {};

// Mutexes whose words hold thread numbers: priority inheritance is the kernel's, a robust list is walked by it.
void lock_by_number(std::size_t me) {
  while (!failed) {
    if (::pthread_mutex_lock(&inheriting) != 0) return wrong("a mutex with priority inheritance");
    if (inherited[0] != inherited[1]) wrong("what a mutex guards");
    ++inherited[0];
    ::sched_yield();
    ++inherited[1];
    if (::pthread_mutex_unlock(&inheriting) != 0) return wrong("the mutex's owner");
    if (::pthread_mutex_lock(&robust) != 0 || ::pthread_mutex_unlock(&robust) != 0) return wrong("a robust mutex");
    round_over(me);
  }
}

// A POSIX timer that signals this thread with a value, which sigtimedwait takes.
void count_timer(std::size_t me) {
  sigset_t waited;
  sigemptyset(&waited);
  sigaddset(&waited, SIGRTMIN + 1);
  ::pthread_sigmask(SIG_BLOCK, &waited, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGRTMIN + 1;
  event.sigev_value.sival_int = 4711;
  event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
  timer_t timer;
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return wrong("timer_create");
  const itimerspec every{{0, 3'000'000}, {0, 3'000'000}};
  ::timer_settime(timer, 0, &every, nullptr);
  while (!failed) {
    siginfo_t info{};
    const timespec patience{5, 0};
    const int got = ::sigtimedwait(&waited, &info, &patience);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) wrong("the POSIX timer no longer fires");
    if (info.si_code == SI_TIMER && info.si_value.sival_int != 4711) wrong("the POSIX timer's value");
    round_over(me);
  }
}

// Waits on a futex that nobody wakes, until a moment of the monotonic clock.
void wait_until(std::size_t me) {
  std::uint32_t word = 1;
  while (!failed) {
    timespec until{};
    ::clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 2'000'000;
    if (until.tv_nsec >= 1'000'000'000) {
      until.tv_nsec -= 1'000'000'000;
      ++until.tv_sec;
    }
    const long got = ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 1, &until, nullptr, ~0U);
    if (got == 0) wrong("a futex that nobody woke");
    if (got < 0 && errno != ETIMEDOUT && errno != EINTR) wrong("a futex with a deadline");
    round_over(me);
  }
}

// A stream of numbers, in pieces that fill the pipe or socket and are read in others.
struct Stream {
  int to;
  int from;
};

void pour(Stream stream) {
  std::vector<std::uint32_t> piece;
  std::uint32_t next = 0;
  for (std::size_t size = 1; !failed; size = size * 5 % 4093 + 1) {
    piece.resize(size);
    for (std::uint32_t& one : piece) one = next++;
    const char* at = reinterpret_cast<const char*>(piece.data());
    for (std::size_t left = size * sizeof(next); left > 0;) {
      const ssize_t sent = ::write(stream.to, at, left);
      if (sent <= 0) return wrong("write to a stream");
      at += sent;
      left -= static_cast<std::size_t>(sent);
    }
  }
}

void drink(std::size_t me, Stream stream) {
  std::vector<char> bytes(6000);
  std::uint32_t expected = 0;
  std::uint32_t partial = 0;
  std::size_t have = 0;
  while (!failed) {
    const ssize_t got = ::read(stream.from, bytes.data(), bytes.size() - rounds[me] % 999);
    if (got <= 0) return wrong("read from a stream");
    for (ssize_t i = 0; i < got; ++i) {
      std::memcpy(reinterpret_cast<char*>(&partial) + have, &bytes[static_cast<std::size_t>(i)], 1);
      if (++have < sizeof(partial)) continue;
      if (partial != expected++) return wrong("bytes of a stream");
      have = 0;
    }
    round_over(me);
  }
}

// ---- Memory that is guarded, deep stacks, the heap ----

constexpr std::size_t kGuardedBytes = 16 * 4096;
char* guarded = nullptr;
std::atomic<std::uint64_t> faults_seen{0};

// As garbage collectors do: a write to a protected page is a signal, whose handler opens the page.
void on_fault(int, siginfo_t* info, void*) {
  auto* address = static_cast<char*>(info->si_addr);
  if (address < guarded || address >= guarded + kGuardedBytes) ::_exit(77);
  ++faults_seen;
  auto* page = reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(address) & ~std::uintptr_t{4095});
  ::mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

void guard(std::size_t me) {
  for (std::uint64_t round = 1; !failed; ++round) {
    ::mprotect(guarded, kGuardedBytes, round % 2 == 0 ? PROT_READ : PROT_NONE);
    for (std::size_t page = 0; page < kGuardedBytes; page += 4096) {
      const std::uint64_t before = faults_seen;
      auto* word = reinterpret_cast<volatile std::uint64_t*>(guarded + page);
      *word = *word + 1;
      if (faults_seen != before + 1) wrong("a write to a protected page");
      if (*word != round) wrong("a page that was protected");
    }
    round_over(me);
  }
}

std::uint64_t descend(std::uint64_t depth) {  // NOLINT(misc-no-recursion): the stack is what is tested
  volatile std::uint64_t frame[32];
  for (std::uint64_t i = 0; i < 32; ++i) frame[i] = depth * i;
  const std::uint64_t below = depth == 0 ? 0 : descend(depth - 1);
  for (std::uint64_t i = 0; i < 32; ++i) {
    if (frame[i] != depth * i) wrong("a frame of a deep stack");
  }
  return below + depth;
}

// The heap grows and shrinks by brk, and a stack by recursion; the thread keeps its name and its processors.
void allocate(std::size_t me) {
  ::prctl(PR_SET_NAME, "allocator");
  cpu_set_t mine_before;
  ::sched_getaffinity(0, sizeof(mine_before), &mine_before);
  std::vector<std::vector<std::uint64_t>> blocks(32);
  for (std::uint64_t round = 1; !failed; ++round) {
    std::vector<std::uint64_t>& block = blocks[round % blocks.size()];
    for (std::size_t i = 0; i < block.size(); ++i) {
      if (block[i] != block.size() + i) wrong("a block of the heap");
    }
    block = std::vector<std::uint64_t>(round * 977 % 9000 + 1);
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = block.size() + i;
    if (descend(200) != 200 * 201 / 2) wrong("a deep stack");
    char name[16] = {};
    ::prctl(PR_GET_NAME, name);
    if (std::strcmp(name, "allocator") != 0) wrong("the thread's name");
    cpu_set_t mine_now;
    ::sched_getaffinity(0, sizeof(mine_now), &mine_now);
    if (CPU_EQUAL(&mine_before, &mine_now) == 0) wrong("the thread's processors");
    round_over(me);
  }
}

bool make_locks_and_guard() {
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
  if (::pthread_mutex_init(&inheriting, &attributes) != 0) return false;
  ::pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_NONE);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  if (::pthread_mutex_init(&robust, &attributes) != 0) return false;
  guarded =
      static_cast<char*>(::mmap(nullptr, kGuardedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  return guarded != MAP_FAILED && ::sigaction(SIGSEGV, &action, nullptr) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const int copies = argc > 1 ? std::atoi(argv[1]) : 1;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  ::sigaction(SIGUSR1, &action, nullptr);
  for (int copy = 0; copy < copies; ++copy) {
    int there[2];
    int back[2];
    if (::pipe(there) != 0 || ::pipe(back) != 0) return 1;
    std::thread(compute, 0).detach();
    std::thread(echo, there[0], back[1]).detach();
    std::thread(ask, 1, there[1], back[0]).detach();
    std::thread(churn, 2).detach();
    std::thread(watch, 3).detach();
    std::thread(breed, 4).detach();
    std::thread(compute, 5).detach();
  }
  std::thread(take_turns, 6, 0).detach();
  std::thread(take_turns, 7, 1).detach();
  std::thread(signal_itself, 8).detach();
  if (!make_locks_and_guard()) return 1;
  int pipe[2];
  int pair[2];
  if (::pipe(pipe) != 0 || ::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return 1;
  std::thread(hold_vectors, 9).detach();
  std::thread(hold_fpu, 10).detach();
  std::thread(lock_by_number, 11).detach();
  std::thread(lock_by_number, 12).detach();
  std::thread(count_timer, 13).detach();
  std::thread(wait_until, 14).detach();
  for (const auto& [me, stream] : {std::pair{15, Stream{pipe[1], pipe[0]}}, std::pair{16, Stream{pair[1], pair[0]}}}) {
    std::thread(pour, stream).detach();
    std::thread(drink, me, stream).detach();
  }
  std::thread(guard, 17).detach();
  std::thread(allocate, 18).detach();
  std::uint64_t before[kParts] = {};
  for (std::uint64_t count = 0; !failed; ++count) {
    ::usleep(100'000);
    // Each part must have moved within ten looks.
    if (count % 10 == 9) {
      for (std::size_t i = 0; i < kParts; ++i) {
        if (rounds[i] == before[i]) {
          static char text[32];
          std::snprintf(text, sizeof(text), "part %zu stands still", i);
          wrong(text);
        }
        before[i] = rounds[i];
      }
    }
    std::printf("ok %llu\n", static_cast<unsigned long long>(count));
    std::fflush(stdout);
  }
  return 1;
}
