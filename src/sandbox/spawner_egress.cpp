// The way out of an environment's network namespace, for functions that ask for it: one slirp4netns for each, which
// has a TAP device inside and makes the function's connections anew outside, as any program of the machine makes its
// own (slirp4netns(1)). What listens on the machine's loopback is out of reach.
//
// slirp4netns and not pasta: it puts itself away before it looks at a byte (a mount namespace with /etc and /run alone,
// no capabilities but that of low ports, a seccomp filter), keeps the host's loopback closed by one switch, and has the
// same addresses on every machine.
//
// The process belongs to the spawner, not to the environment's groups: the function cannot see it. It ends with the
// environment, or by its death signal with the spawner.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "sandbox/spawner.h"

namespace thaw::sandbox {
namespace {

// Each connection outside is one.
constexpr rlim_t kOpenFiles = 1024;
constexpr rlim_t kAddressSpaceBytes = 256 << 20;
// Their numbers in the new process.
constexpr int kNetworkFd = 3;
constexpr int kReadyFd = 4;
constexpr int kParkedFd = 64;

void limit(int resource, rlim_t most) {
  const rlimit limits{.rlim_cur = most, .rlim_max = most};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &limits);
}

[[noreturn]] void become_egress(const std::string& program, int network, int ready) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setsid();
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // First out of the way, so that no number is overwritten before it is used.
  network = ::fcntl(network, F_DUPFD, kParkedFd);
  ready = ::fcntl(ready, F_DUPFD, kParkedFd);
  const int null = ::open("/dev/null", O_RDWR);
  const bool placed = network >= 0 && ready >= 0 && null >= 0 && ::dup2(null, STDIN_FILENO) >= 0 &&
                      ::dup2(null, STDOUT_FILENO) >= 0 && ::dup2(null, STDERR_FILENO) >= 0 &&
                      ::dup2(network, kNetworkFd) >= 0 && ::dup2(ready, kReadyFd) >= 0;
  if (!placed) ::_exit(126);
  ::syscall(SYS_close_range, kReadyFd + 1, ~0U, 0);
  limit(RLIMIT_NOFILE, kOpenFiles);
  limit(RLIMIT_AS, kAddressSpaceBytes);
  limit(RLIMIT_CORE, 0);
  const std::string path = "/proc/self/fd/" + std::to_string(kNetworkFd);
  const std::string ready_option = "--ready-fd=" + std::to_string(kReadyFd);
  ::execl(program.c_str(), program.c_str(), "--configure", "--mtu=1500", "--disable-host-loopback", "--enable-sandbox",
          "--enable-seccomp", ready_option.c_str(), "--netns-type=path", path.c_str(), "tap0", nullptr);
  ::_exit(127);
}

}  // namespace

// Once the environment has both a request for it and its network: whichever comes later calls.
Status Spawner::launch_egress(Environment& environment) {
  if (!environment.egress_ready.valid() || !environment.network.valid()) return {};
  const pid_t pid = ::fork();
  if (pid < 0) return sys::errno_error("fork");
  if (pid == 0) become_egress(options_.egress_program, environment.network.get(), environment.egress_ready.get());
  environment.egress = pid;
  environment.egress_ready.reset();
  slot_of_egress_[pid] = environment.slot;
  return {};
}

void Spawner::end_egress(Environment& environment) {
  environment.egress_ready.reset();
  // Still a child of this process as long as it stands in the table.
  if (slot_of_egress_.contains(environment.egress)) ::kill(environment.egress, SIGKILL);
  environment.egress = -1;
}

bool Spawner::egress_gone(pid_t pid) {
  const auto found = slot_of_egress_.find(pid);
  if (found == slot_of_egress_.end()) return false;
  const auto environment = live_.find(found->second);
  slot_of_egress_.erase(found);
  if (environment == live_.end() || environment->second->egress != pid) return true;
  // The function would wait for answers that never come; another environment serves the next request.
  Environment& cut_off = *environment->second;
  log::warn("egress_ended environment={}", cut_off.id.value_or(0));
  if (cut_off.state == State::running) cut_off.destroyed = true;
  if (!cut_off.failure) cut_off.failure = Error{ErrorKind::unavailable, "the environment has lost its egress"};
  end(cut_off);
  return true;
}

}  // namespace thaw::sandbox
