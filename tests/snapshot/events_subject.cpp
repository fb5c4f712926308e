// Descriptors that something happens to: inotify, epoll, timerfd, eventfd, signalfd, pipes; see subject.h.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "subject.h"

namespace {

using subject::expect;
using subject::require;

constexpr int kWaitMs = 10'000;

bool becomes_readable(int file) {
  pollfd ready{file, POLLIN, 0};
  return ::poll(&ready, 1, kWaitMs) == 1 && (ready.revents & POLLIN) != 0;
}

std::uint64_t count_in(int file) {
  std::uint64_t count = 0;
  return ::read(file, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

void touch(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  require(file >= 0, path.c_str());
  ::close(file);
}

// ---- inotify ----

struct {
  int instance = -1;
  int of_folder = 0;
  int of_file = 0;
  int of_root = 0;
  int of_package = 0;
} watched;

// IN_OPEN too: what the restore itself opens must not be seen.
bool watches_opens = false;

void make_watches() {
  watched.instance = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  require(::mkdir("/tmp/source", 0700) == 0 && ::mkdir("/tmp/gone", 0700) == 0, "mkdir");
  touch("/tmp/source/app.py");
  const int gone = ::inotify_add_watch(watched.instance, "/tmp/gone", IN_CREATE);
  watched.of_folder = ::inotify_add_watch(watched.instance, "/tmp/source",
                                          IN_CREATE | IN_MOVED_TO | IN_DELETE | (watches_opens ? IN_OPEN : 0));
  const int removed = ::inotify_add_watch(watched.instance, "/var", IN_CREATE);
  watched.of_file = ::inotify_add_watch(watched.instance, "/tmp/source/app.py", IN_MODIFY | IN_ATTRIB);
  watched.of_root = ::inotify_add_watch(watched.instance, "/tmp", IN_DELETE | IN_ONLYDIR);
  watched.of_package = ::inotify_add_watch(watched.instance, "/usr/bin", IN_CREATE);
  require(watched.of_package > watched.of_root && watched.of_root > removed && removed > gone && gone > 0, "watches");
  require(::inotify_rm_watch(watched.instance, removed) == 0 && ::inotify_rm_watch(watched.instance, gone) == 0, "rm");
  char bytes[4096];
  while (::read(watched.instance, bytes, sizeof(bytes)) > 0) {
  }
}

// The next event, as "WATCH MASK NAME".
std::string next_event() {
  static std::vector<std::string> waiting;
  while (waiting.empty()) {
    if (!becomes_readable(watched.instance)) return "(nothing)";
    alignas(inotify_event) char bytes[4096];
    const ssize_t size = ::read(watched.instance, bytes, sizeof(bytes));
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(bytes + at);
      waiting.push_back(std::to_string(event->wd) + " " + std::to_string(event->mask) + " " +
                        (event->len > 0 ? event->name : ""));
      at += static_cast<ssize_t>(sizeof(*event) + event->len);
    }
  }
  std::string first = waiting.front();
  waiting.erase(waiting.begin());
  return first;
}

void expect_event(int watch, std::uint32_t mask, const std::string& name) {
  const std::string wanted = std::to_string(watch) + " " + std::to_string(mask) + " " + name;
  const std::string found = next_event();
  expect(found == wanted, "an event: " + found + " in place of " + wanted);
}

void check_watches() {
  touch("/tmp/source/new.py");
  expect_event(watched.of_folder, IN_CREATE, "new.py");
  if (watches_opens) expect_event(watched.of_folder, IN_OPEN, "new.py");
  expect(::chmod("/tmp/source/app.py", 0640) == 0, "chmod");
  expect_event(watched.of_file, IN_ATTRIB, "");
  expect(::unlink("/tmp/source/new.py") == 0, "unlink");
  expect_event(watched.of_folder, IN_DELETE, "new.py");
  expect(::rmdir("/tmp/gone") == 0, "rmdir");
  expect_event(watched.of_root, IN_DELETE | IN_ISDIR, "gone");
  const int again = ::inotify_add_watch(watched.instance, "/usr/bin", IN_CREATE | IN_DELETE);
  expect(again == watched.of_package, "the watch of a folder that all share");
  expect(::inotify_rm_watch(watched.instance, watched.of_file) == 0, "that a watch can be removed");
}

// ---- epoll and what it watches ----

struct {
  int outer = -1;
  int inner = -1;
  int event = -1;
  int semaphore = -1;
  int pipe[2];
  int dead_pipe = -1;
  int copy = -1;
} polled;

void make_polled() {
  polled.outer = ::epoll_create1(EPOLL_CLOEXEC);
  polled.inner = ::epoll_create1(0);
  polled.event = ::eventfd(3, EFD_NONBLOCK);
  polled.semaphore = ::eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE);
  polled.copy = ::dup(polled.event);
  require(::pipe2(polled.pipe, O_NONBLOCK) == 0 && ::fcntl(polled.pipe[0], F_SETPIPE_SZ, 8192) == 8192, "pipe");
  const std::string bytes(5000, 'p');
  require(::write(polled.pipe[1], bytes.data(), bytes.size()) == 5000, "write");
  int dead[2];
  require(::pipe(dead) == 0 && ::write(dead[1], "rest", 4) == 4, "pipe");
  ::close(dead[1]);
  polled.dead_pipe = dead[0];
  const auto watch = [](int epoll, int file, std::uint32_t events, std::uint64_t data) {
    epoll_event event{events, {.u64 = data}};
    require(::epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event) == 0, "epoll_ctl");
  };
  watch(polled.inner, polled.event, EPOLLIN, 0x1111222233334444);
  watch(polled.inner, polled.copy, EPOLLOUT | EPOLLET, 2);
  watch(polled.outer, polled.inner, EPOLLIN | EPOLLONESHOT, 3);
  watch(polled.outer, polled.pipe[0], EPOLLIN, 4);
}

void check_polled() {
  epoll_event events[8];
  const int count = ::epoll_wait(polled.inner, events, 8, kWaitMs);
  expect(count == 2, "events of the inner epoll");
  bool seen = false;
  for (int i = 0; i < count; ++i) seen |= events[i].data.u64 == 0x1111222233334444 && events[i].events == EPOLLIN;
  expect(seen, "an event's data");
  expect(::epoll_wait(polled.outer, events, 8, kWaitMs) == 2, "events of the outer epoll");
  expect(::epoll_wait(polled.outer, events, 8, 0) == 1 && events[0].data.u64 == 4, "that one shot is one");
  expect(count_in(polled.event) == 3 && count_in(polled.copy) == 0, "an eventfd's count");
  expect(count_in(polled.semaphore) == 1 && count_in(polled.semaphore) == 1 && count_in(polled.semaphore) == 0,
         "a semaphore's count");
  std::string bytes(6000, '\0');
  expect(::read(polled.pipe[0], bytes.data(), bytes.size()) == 5000 && bytes.substr(0, 5000) == std::string(5000, 'p'),
         "bytes in a pipe");
  expect(::fcntl(polled.pipe[0], F_GETPIPE_SZ) == 8192, "a pipe's size");
  char rest[8] = {};
  expect(::read(polled.dead_pipe, rest, 8) == 4 && std::strcmp(rest, "rest") == 0 &&
             ::read(polled.dead_pipe, rest, 8) == 0,
         "a pipe whose other end is closed");
}

// ---- timerfd and signalfd ----

struct {
  int repeating = -1;
  int once = -1;
  int expired = -1;
  int far = -1;
  int signals = -1;
} timed;

int timer(std::int64_t first_ns, std::int64_t every_ns, int flags = 0) {
  const int file = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  constexpr std::int64_t kSecond = 1'000'000'000;
  const itimerspec time{{every_ns / kSecond, every_ns % kSecond}, {first_ns / kSecond, first_ns % kSecond}};
  require(file >= 0 && ::timerfd_settime(file, flags, &time, nullptr) == 0, "timerfd");
  return file;
}

void make_timed() {
  timed.repeating = timer(1'000'000, 1'000'000);
  timed.expired = timer(1'000'000, 0);
  timed.once = timer(50'000'000, 0);
  timed.far = timer(3'600'000'000'000, 0);
  require(becomes_readable(timed.expired) && becomes_readable(timed.repeating), "a timer's end");
  ::usleep(20'000);  // ticks that nobody reads
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGRTMIN + 3);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  timed.signals = ::signalfd(-1, &mask, SFD_NONBLOCK);
  for (const int value : {41, 42}) {
    sigval with{};
    with.sival_int = value;
    require(::sigqueue(::getpid(), SIGRTMIN + 3, with) == 0, "sigqueue");
  }
}

void check_timed() {
  expect(count_in(timed.expired) == 1 && count_in(timed.expired) == 0, "a timer that had expired");
  expect(count_in(timed.repeating) >= 15, "ticks that nobody had read");
  expect(becomes_readable(timed.repeating), "that a timer goes on");
  expect(becomes_readable(timed.once) && count_in(timed.once) == 1, "a timer that was running");
  itimerspec left{};
  expect(::timerfd_gettime(timed.far, &left) == 0 && left.it_value.tv_sec > 3000 && left.it_value.tv_sec <= 3600,
         "what is left of a long time");
  for (const int value : {41, 42}) {
    signalfd_siginfo info{};
    expect(::read(timed.signals, &info, sizeof(info)) == sizeof(info) && info.ssi_int == value &&
               info.ssi_signo == static_cast<std::uint32_t>(SIGRTMIN + 3),
           "a signal that waited");
  }
}

// ---- What refuses ----

void watch_closed_descriptor() {
  const int epoll = ::epoll_create1(0);
  const int event = ::eventfd(0, 0);
  epoll_event wanted{EPOLLIN, {.fd = event}};
  require(::epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted) == 0, "epoll_ctl");
  require(::dup(event) >= 0, "dup");
  ::close(event);
}

void watch_replaced_descriptor() {
  watch_closed_descriptor();
  require(::eventfd(0, 0) >= 0, "eventfd");  // takes the number of the one that was closed
}

void leave_events() {
  const int instance = ::inotify_init1(0);
  require(::inotify_add_watch(instance, "/tmp", IN_CREATE) == 1, "watch");
  touch("/tmp/new");
}

void signal_descriptor() {
  int ends[2];
  require(::pipe(ends) == 0 && ::fcntl(ends[0], F_SETOWN, ::getpid()) == 0 && ::fcntl(ends[0], F_SETFL, O_ASYNC) == 0,
          "O_ASYNC");
}

void leave_packets() {
  int ends[2];
  require(::pipe2(ends, O_DIRECT) == 0 && ::write(ends[1], "one", 3) == 3 && ::write(ends[1], "two", 3) == 3, "pipe2");
}

}  // namespace

int main(int argc, char** argv) {
  return subject::run(argc, argv,
                      {{"watches", make_watches, check_watches},
                       {"watches-opens", [] { watches_opens = true, make_watches(); }, check_watches},
                       {"polled", make_polled, check_polled},
                       {"timed", make_timed, check_timed},
                       {"watches-closed", watch_closed_descriptor, [] {}},
                       {"watches-replaced", watch_replaced_descriptor, [] {}},
                       {"signalled", signal_descriptor, [] {}},
                       {"packets-wait", leave_packets, [] {}},
                       {"events-wait", leave_events, [] {}}});
}
