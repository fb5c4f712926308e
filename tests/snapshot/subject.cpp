#include "subject.h"

#include <signal.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace subject {
namespace {

int wrongs = 0;

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace

void expect(bool right, const std::string& what) {
  if (right) return;
  ++wrongs;
  say("wrong: " + what);
}

void require(bool made, const char* what) {
  if (made) return;
  say(std::string("cannot be made: ") + what + ": " + std::strerror(errno));
  std::_Exit(1);
}

void skip(const char* why) {
  say(std::string("skip: ") + why);
  std::_Exit(0);
}

int run(int argc, char** argv, std::initializer_list<Case> cases) {
  for (const Case& one : cases) {
    if (argc != 2 || std::strcmp(argv[1], one.name) != 0) continue;
    sigset_t turn;
    sigemptyset(&turn);
    sigaddset(&turn, SIGUSR2);
    sigprocmask(SIG_BLOCK, &turn, nullptr);
    one.prepare();
    say("ready");
    int signal = 0;
    while (sigwait(&turn, &signal) != 0) {
    }
    one.check();
    say(wrongs == 0 ? "right" : "not right");
    // Whoever wants to look at it still can.
    for (;;) sigwait(&turn, &signal);
  }
  say("no such case");
  return 2;
}

}  // namespace subject
