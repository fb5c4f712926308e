// A program that checks itself without pause: every thread keeps state whose truth it can tell, in registers, memory,
// pipes, timers and locks. It prints "ok N" about ten times a second, each when every part has got on since the last,
// and "wrong: WHAT" once something is not right.
//
//   busy_subject [COPIES]
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "busy.h"

namespace busy {

void wrong(const char* what) {
  if (failed.exchange(true)) return;
  std::printf("wrong: %s\n", what);
  std::fflush(stdout);
}

void round_over(std::size_t me) {
  if (++rounds[me] % 4 == 0) ::usleep(2000);
}

namespace {

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

bool make_locks() {
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
  if (::pthread_mutex_init(&inheriting, &attributes) != 0) return false;
  ::pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_NONE);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  return ::pthread_mutex_init(&robust, &attributes) == 0;
}

// Until every part has moved since the last time. On a machine that is busy with other things that takes a while.
void await_rounds(std::uint64_t (&before)[kParts]) {
  constexpr int kLooks = 1200;
  for (std::size_t i = 0; i < kParts; ++i) {
    for (int look = 0; rounds[i] == before[i] && !failed; ++look) {
      if (look == kLooks) {
        static char text[32];
        std::snprintf(text, sizeof(text), "part %zu stands still", i);
        wrong(text);
      }
      ::usleep(25'000);
    }
    before[i] = rounds[i];
  }
}

int run(int copies) {
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
  if (!make_locks() || !make_guard()) return 1;
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
    await_rounds(before);
    if (failed) break;
    std::printf("ok %llu\n", static_cast<unsigned long long>(count));
    std::fflush(stdout);
  }
  return 1;
}

}  // namespace
}  // namespace busy

int main(int argc, char** argv) { return busy::run(argc > 1 ? std::atoi(argv[1]) : 1); }
