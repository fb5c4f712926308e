#include "sandbox/spawner_main.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "base/sys.h"
#include "sandbox/message_socket.h"
#include "sandbox/protocol.h"
#include "sandbox/spawner.h"

namespace thaw::sandbox {
namespace {

// From the kernel to the spawner, when the keeper has died.
constexpr int kKeeperGone = SIGUSR1;

// The spawner's end is the end of its socket, not a signal: a service manager that sends SIGTERM to the whole service
// must not kill the functions that the daemon still lets finish.
void block_signals() {
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD, kKeeperGone}) {
    sigaddset(&blocked, signal);
  }
  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
}

// Descriptors 0 to 2 are taken for what they are from here on.
void open_standard_descriptors() {
  int fd;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

int run_spawner(const SpawnerOptions& options, ProcessImages& images, UniqueFd socket, pid_t keeper) {
  ::prctl(PR_SET_PDEATHSIG, kKeeperGone);
  if (::getppid() != keeper) return 1;
  auto duplicate = sys::duplicate(socket);
  auto spawner = Spawner::create(options, images, std::move(socket), kKeeperGone);
  if (!spawner.ok()) {
    log::error("spawner_failed error=\"{}\"", spawner.error().message);
    if (duplicate.ok()) {
      (void)send_message(*duplicate, protocol::encode_ready(protocol::outcome_of(spawner.error())), {}, Wait::no);
    }
    return 1;
  }
  // Nobody but the spawner may hold the socket: its closing is the sign to end.
  if (duplicate.ok()) duplicate->reset();
  (*spawner)->run();
  return 0;
}

}  // namespace

int run_spawner_program(const std::vector<std::string>& texts, ProcessImages& images) {
  auto arguments = parse_arguments(texts);
  if (!arguments.ok()) {
    log::error("spawner_arguments error=\"{}\"", arguments.error().message);
    return 2;
  }
  log::configure("thaw-spawner", arguments->options.log_level.c_str());
  UniqueFd socket(arguments->socket_fd);
  ::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
  ::umask(022);
  open_standard_descriptors();
  block_signals();

  const pid_t keeper = ::getpid();
  const pid_t spawner = ::fork();
  if (spawner < 0) {
    log::error("fork_failed error_number={}", errno);
    return 1;
  }
  if (spawner == 0) return run_spawner(arguments->options, images, std::move(socket), keeper);
  socket.reset();
  int status = 0;
  while (::waitpid(spawner, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  log::error("spawner_killed signal={}", WTERMSIG(status));
  // Its environments die with it by their death signals; this waits for that and takes their groups away.
  sweep_cgroups(arguments->options.cgroup_name);
  return 1;
}

}  // namespace thaw::sandbox
