#include "launch.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "base/sys.h"
#include "sandbox/message_socket.h"
#include "snapshot/pager.h"
#include "snapshot/proc_files.h"
#include "snapshot/restore.h"

namespace thaw::snapshot {
namespace {

constexpr int kLineWaitMs = 60'000;

void bring_up_loopback() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) ::_exit(125);
}

void mount_own_folders() {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(124);
  for (const char* folder : {"/tmp", "/dev/shm"}) {
    if (::mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") != 0) ::_exit(124);
  }
}

// One request on a new connection, from the calling thread's network namespace; the whole answer.
std::string exchange(std::uint16_t port, const std::string& request) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval wait{10, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return "";
  if (!sys::write_all(socket, request).ok()) return "";
  std::string answer;
  char bytes[4096];
  for (ssize_t got = 0; (got = ::read(socket.get(), bytes, sizeof(bytes))) > 0;)
    answer.append(bytes, static_cast<std::size_t>(got));
  return answer;
}

// Process 1 of a new PID namespace, which forks `run` as process 2. The number of process 1.
pid_t in_namespace(Folders folders, const std::function<void()>& run) {
  clone_args arguments{};
  arguments.flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS;
  arguments.exit_signal = SIGCHLD;
  const auto keeper = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (keeper != 0) return keeper;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  bring_up_loopback();
  if (folders == Folders::own) mount_own_folders();
  if (::fork() == 0) {
    run();
    ::_exit(126);
  }
  while (::wait(nullptr) > 0) {
  }
  ::_exit(0);
}

pid_t child_of(pid_t keeper) {
  for (int look = 0; look < 2000; ++look) {
    const auto children = read_proc(keeper, "task/" + std::to_string(keeper) + "/children");
    if (children.ok() && !children->empty()) return static_cast<pid_t>(number(*children));
    ::usleep(1000);
  }
  return -1;
}

// Serves the faults of all clones; ends with this process.
const UniqueFd& pager_of_tests() {
  static const UniqueFd control = [] {
    sandbox::SocketPair sockets = std::move(sandbox::make_message_sockets()).value();
    if (::fork() == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      sockets.one.reset();
      auto pager = Pager::create(std::move(sockets.other));
      if (pager.ok()) (*pager)->run();
      ::_exit(0);
    }
    return std::move(sockets.one);
  }();
  return control;
}

std::uint64_t inode_of(int fd) {
  struct stat info {};
  ::fstat(fd, &info);
  return info.st_ino;
}

}  // namespace

Launched Launched::program(const std::vector<std::string>& command, Folders folders) {
  Launched launched;
  sys::Pipe pipe = std::move(sys::pipe()).value();
  launched.output_inode_ = inode_of(pipe.write_end.get());
  launched.keeper_ = in_namespace(folders, [&] {
    std::vector<char*> arguments;
    for (const std::string& part : command) arguments.push_back(const_cast<char*>(part.c_str()));
    arguments.push_back(nullptr);
    ::dup2(pipe.write_end.get(), 1);
    ::dup2(pipe.write_end.get(), 2);
    ::close(0);
    (void)!::open("/dev/null", O_RDONLY);
    ::syscall(SYS_close_range, 3, ~0U, 0);
    if (::chdir("/") == 0) ::execv(arguments[0], arguments.data());
  });
  launched.output_ = std::move(pipe.read_end);
  launched.pid_ = child_of(launched.keeper_);
  return launched;
}

Launched Launched::clone_of(const Image& image, const ImageMemory& memory, const CloneOptions& options) {
  Launched launched;
  const UniqueFd& pager = pager_of_tests();
  std::function<Status(const UniqueFd&, const std::vector<AddressRange>&)> share;
  if (!options.copied) {
    share = [&](const UniqueFd& userfault, const std::vector<AddressRange>& content) {
      const int fds[] = {userfault.get(), memory.working_set.get(), memory.pages.get()};
      return sandbox::send_message(pager, encode_pager_add(content), fds, sandbox::Wait::yes);
    };
  }
  sys::Pipe output = std::move(sys::pipe()).value();
  sys::Pipe report = std::move(sys::pipe()).value();
  const auto began = std::chrono::steady_clock::now();
  launched.output_inode_ = inode_of(output.write_end.get());
  launched.keeper_ = in_namespace(options.folders, [&] {
    const bool own = options.folders == Folders::own;
    become({.image = image,
            .image_file = memory.pages,
            .share_memory = share,
            .output = output.write_end,
            .report = report.write_end,
            .running = "running",
            .failed = [](const Error& error) { return error.message; },
            .user = options.user,
            .filter = {},
            .private_folders = own ? std::vector<std::string>{"/tmp", "/dev/shm"} : std::vector<std::string>()});
  });
  report.write_end.reset();
  output.write_end.reset();
  char text[512] = {};
  pollfd ready{report.read_end.get(), POLLIN, 0};
  if (::poll(&ready, 1, kLineWaitMs) == 1) {
    const ssize_t got = ::read(report.read_end.get(), text, sizeof(text));
    launched.report_.assign(text, got > 0 ? static_cast<std::size_t>(got) : 0);
    if (got == sizeof(Step)) {
      Step step;
      std::memcpy(&step, text, sizeof(step));
      launched.report_ = "system call " + std::to_string(static_cast<std::uint64_t>(step.operation) >> 32) + " gave " +
                         std::to_string(static_cast<std::int64_t>(step.number));
      for (const std::uint64_t argument : step.arguments) launched.report_ += " " + std::to_string(argument);
    }
  }
  launched.restore_us_ = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began).count());
  launched.output_ = std::move(output.read_end);
  launched.pid_ = child_of(launched.keeper_);
  return launched;
}

Launched::Launched(Launched&& other) noexcept
    : keeper_(std::exchange(other.keeper_, -1)),
      pid_(std::exchange(other.pid_, -1)),
      output_(std::move(other.output_)),
      output_inode_(other.output_inode_),
      report_(std::move(other.report_)),
      pending_(std::move(other.pending_)),
      restore_us_(other.restore_us_) {}

Launched::~Launched() {
  if (keeper_ <= 0) return;
  ::kill(keeper_, SIGKILL);
  ::waitpid(keeper_, nullptr, __WALL);
}

std::string Launched::ask(std::uint16_t port, const std::string& request) const {
  std::string answer;
  // A namespace is entered by a thread, which ends with it.
  std::thread([&] {
    const auto network = sys::open(proc_path(keeper_, "ns/net"), O_RDONLY);
    if (network.ok() && ::setns(network->get(), CLONE_NEWNET) == 0) answer = exchange(port, request);
  }).join();
  return answer;
}

std::string Launched::line() {
  for (;;) {
    if (const std::size_t end = pending_.find('\n'); end != std::string::npos) {
      std::string result = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return result;
    }
    pollfd ready{output_.get(), POLLIN, 0};
    if (::poll(&ready, 1, kLineWaitMs) != 1) return "(no line)";
    char bytes[4096];
    const ssize_t got = ::read(output_.get(), bytes, sizeof(bytes));
    if (got <= 0) return "(ended)";
    pending_.append(bytes, static_cast<std::size_t>(got));
  }
}

}  // namespace thaw::snapshot
