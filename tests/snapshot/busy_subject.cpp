// A program that checks itself without pause: every thread keeps state whose truth it can tell, in registers, memory,
// pipes, timers and locks. It prints "ok N" ten times a second while everything is right, and "wrong: WHAT" once
// something is not.
//
//   busy_subject [THREADS]
#include <immintrin.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
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
std::atomic<std::uint64_t> rounds[16];

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
  std::uint64_t before[9] = {};
  for (std::uint64_t count = 0; !failed; ++count) {
    ::usleep(100'000);
    // Each part must have moved within ten looks.
    if (count % 10 == 9) {
      for (std::size_t i = 0; i < 9; ++i) {
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
