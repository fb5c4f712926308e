// The pager's process, and what happens when it ends.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "base/log.h"
#include "base/sys.h"
#include "sandbox/spawner.h"

namespace thaw::sandbox {
namespace {

constexpr uid_t kNobody = 65534;
constexpr int kPagerNice = -5;  // threads of many functions wait for it
constexpr std::string_view kPagerGroupNice = "-15";
constexpr int kSocketBufferBytes = 8 << 20;

// What it may do is what its descriptors allow.
bool give_up_privileges() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  ::setpriority(PRIO_PROCESS, 0, kPagerNice);
  // Where the scheduler shares time out between sessions first (sched(7), autogroup), a nice value counts only within
  // one.
  ::setsid();
  if (auto file = sys::open("/proc/self/autogroup", O_WRONLY); file.ok()) (void)sys::write_all(*file, kPagerGroupNice);
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[2] = {};
  return ::syscall(SYS_setgroups, 0, nullptr) == 0 && ::syscall(SYS_setresgid, kNobody, kNobody, kNobody) == 0 &&
         ::syscall(SYS_setresuid, kNobody, kNobody, kNobody) == 0 && ::syscall(SYS_capset, &header, none) == 0 &&
         ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

}  // namespace

Status Spawner::launch_pager() {
  ASSIGN_OR_RETURN(SocketPair sockets, make_message_sockets());
  ::setsockopt(sockets.one.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBufferBytes, sizeof(kSocketBufferBytes));
  const pid_t spawner = ::getpid();
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (pid < 0) return sys::errno_error("clone3");
  if (pid == 0) {
    // The name first: in a list of processes it must not look like a second spawner.
    ::prctl(PR_SET_NAME, "thaw-pager");
    constexpr int kControl = STDERR_FILENO + 1;
    if (sockets.other.get() != kControl && ::dup3(sockets.other.get(), kControl, O_CLOEXEC) < 0) ::_exit(1);
    ::syscall(SYS_close_range, kControl + 1, ~0U, 0);
    if (!give_up_privileges() || ::getppid() != spawner) ::_exit(1);
    images_.serve_faults(UniqueFd(kControl));
  }
  pager_ = static_cast<pid_t>(pid);
  pager_socket_ = std::move(sockets.one);
  return {};
}

void Spawner::share_memory(Environment& environment, std::span<const std::byte> message, std::vector<UniqueFd> fds) {
  Status shared;
  if (!pager_socket_.valid()) shared = launch_pager();
  std::vector<int> handed;
  handed.reserve(fds.size());
  for (const UniqueFd& fd : fds) handed.push_back(fd.get());
  if (shared.ok()) {
    shared =
        send_message(pager_socket_, {reinterpret_cast<const char*>(message.data()), message.size()}, handed, Wait::no);
  }
  environment.memory = std::move(fds.front());
  if (shared.ok()) return;
  environment.failure = Error{ErrorKind::unavailable, "the pager: " + shared.error().message, "Snapshot.RestoreFailed"};
  end(environment);
}

// Memory that nobody serves any more would stop its function, or read wrongly: it ends.
void Spawner::pager_gone() {
  pager_ = -1;
  pager_socket_.reset();
  if (!closing_) log::error("pager_ended");
  for (const auto& [slot, environment] : live_) {
    if (!environment->memory.valid()) continue;
    if (!environment->failure)
      environment->failure = Error{ErrorKind::unavailable, "the process that serves page faults has ended"};
    end(*environment);
  }
}

}  // namespace thaw::sandbox
