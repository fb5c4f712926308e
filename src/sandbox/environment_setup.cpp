#include "sandbox/environment_setup.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/sys.h"
#include "sandbox/message_socket.h"
#include "sandbox/seccomp_filter.h"
#include "sandbox/stub_report.h"
#include "sandbox/template_root.h"

namespace thaw::sandbox {
namespace {

constexpr rlim_t kOpenFilesSoft = 4096;
constexpr rlim_t kOpenFilesHard = 65536;
constexpr rlim_t kStackBytes = 8 << 20;
// When the machine as a whole runs out of memory, functions go before the daemon (proc_pid_oom_score_adj(5)).
constexpr std::string_view kOomScoreAdjust = "300";
// Clear of the numbers 0 to 3, which are given out last.
constexpr int kParkedFd = 64;
// Connections to the Runtime API that wait to be accepted: a runtime and its extensions have a few.
constexpr int kBacklog = 128;
constexpr std::string_view kRestoreFailed = "Snapshot.RestoreFailed";

// Places in /proc that tell about the machine: those that only root can open are covered too, in depth.
constexpr const char* kMaskedFiles[] = {"/proc/kcore",       "/proc/keys",         "/proc/key-users",
                                        "/proc/timer_list",  "/proc/kallsyms",     "/proc/kmsg",
                                        "/proc/sched_debug", "/proc/config.gz",    "/proc/sysrq-trigger",
                                        "/proc/cmdline",     "/proc/latency_stats"};
constexpr const char* kMaskedFolders[] = {"/proc/acpi", "/proc/bus",    "/proc/irq",
                                          "/proc/fs",   "/proc/driver", "/proc/scsi"};

void copy_text(std::string_view text, std::span<char> into) {
  const std::size_t size = std::min(text.size(), into.size() - 1);
  std::memcpy(into.data(), text.data(), size);
  into[size] = '\0';
}

std::uint64_t now_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000;
}

class Setup {
 public:
  explicit Setup(const SetupPlan& plan) : plan_(plan) {}

  [[noreturn]] void run() {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setsid();
    ::umask(022);
    keep_needed_descriptors();
    step(SetupStep::cgroup);
    join_cgroups();
    step(SetupStep::namespaces);
    enter_namespaces();
    step(SetupStep::network);
    make_network();
    step(SetupStep::proc);
    mount_proc();
    drop_bounding_set();
    step(SetupStep::wait);
    wait_for_go();
    step(SetupStep::limits);
    set_group_limits();
    step(SetupStep::mounts);
    mount_own();
    step(SetupStep::sockets);
    make_sockets();
    await_egress();
    step(SetupStep::privileges);
    place_descriptors();
    if (request_.restore) {
      // Before the function can say that it runs.
      send_finished();
      restore();
    }
    drop_privileges();
    step(SetupStep::stub);
    become_stub();
  }

 private:
  void step(SetupStep next) {
    const std::uint64_t now = now_us();
    if (step_began_us_ != 0) {
      report_.step_us[static_cast<std::size_t>(report_.step)] = static_cast<std::uint32_t>(now - step_began_us_);
    }
    step_began_us_ = now;
    report_.step = next;
  }

  [[noreturn]] void fail(const Error& error) {
    report_.kind = kReportFailed;
    copy_text(error.message, report_.text);
    send({});
    ::_exit(125);
  }
  void check(bool good, const char* what) {
    if (!good) fail(sys::errno_error(what));
  }
  void check(const Status& status) {
    if (!status.ok()) fail(status.error());
  }

  void send(std::span<const int> fds) const {
    const std::string_view bytes(reinterpret_cast<const char*>(&report_), sizeof(report_));
    (void)send_message(placed_report_.valid() ? placed_report_ : plan_.report, bytes, fds, Wait::yes);
  }

  void keep_needed_descriptors();
  void join_cgroups();
  void enter_namespaces();
  void make_network();
  void mount_proc();
  void drop_bounding_set();
  void wait_for_go();
  void set_group_limits();
  void mount_own();
  void attach(const UniqueFd& tree, const char* target);
  void make_sockets();
  void await_egress();
  void place_descriptors();
  void drop_privileges();
  void set_limit(int resource, rlim_t soft, rlim_t hard);
  void send_finished();
  void restore();
  [[noreturn]] void become_stub();

  const SetupPlan& plan_;
  SetupReport report_;
  std::uint64_t step_began_us_ = 0;
  UniqueFd placed_report_;
  protocol::StartRequest request_;
  UniqueFd package_;
  UniqueFd output_;
  UniqueFd engine_;
  UniqueFd egress_ready_;
  UniqueFd model_;
  UniqueFd runtime_;
  UniqueFd layers_;
  UniqueFd image_;
  UniqueFd working_set_;
  std::vector<UniqueFd> sockets_;
  std::vector<UniqueFd> listeners_;
};

// The process may wait for long: it must not hold other environments' sockets, namespaces and pipes open.
void Setup::keep_needed_descriptors() {
  std::vector<int> keep = plan_.cgroups.descriptors();
  keep.insert(keep.end(), {0, 1, 2, plan_.template_root.get(), plan_.report.get()});
  std::sort(keep.begin(), keep.end());
  unsigned first = 0;
  for (const int fd : keep) {
    const auto kept = static_cast<unsigned>(fd);
    if (kept > first) ::syscall(SYS_close_range, first, kept - 1, 0);
    first = kept + 1;
  }
  ::syscall(SYS_close_range, first, ~0U, 0);
  // The stub's report descriptor is put in place last; nothing opened meanwhile may have its number.
  if (::fcntl(THAW_STUB_REPORT_FD, F_GETFD) < 0) {
    check(::dup3(STDERR_FILENO, THAW_STUB_REPORT_FD, O_CLOEXEC) >= 0, "reserve a descriptor");
  }
}

void Setup::join_cgroups() {
  check(plan_.cgroups.make_and_join(plan_.group));
  // Best effort: a machine that forbids it serves as well.
  if (auto file = sys::open("/proc/self/oom_score_adj", O_WRONLY); file.ok()) {
    (void)sys::write_all(*file, kOomScoreAdjust);
  }
}

void Setup::enter_namespaces() {
  check(::setns(plan_.template_root.get(), CLONE_NEWNS) == 0, "setns");
  check(::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) == 0, "unshare");
  check(::sethostname(kHostName, std::strlen(kHostName)) == 0, "sethostname");
}

void Setup::make_network() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  check(socket.valid(), "socket");
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  check(::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0, "bring up the loopback");
}

// Takes nothing from the process itself, only from what it executes: done ahead.
void Setup::drop_bounding_set() {
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
    check(::prctl(PR_CAPBSET_DROP, capability) == 0, "drop a capability");
  }
}

void Setup::wait_for_go() {
  const UniqueFd network(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  check(network.valid(), "network namespace");
  report_.kind = kReportPrepared;
  const int fds[] = {network.get()};
  send(fds);

  std::vector<std::byte> bytes(protocol::kRequestBytesMax);
  auto message = receive_message(plan_.report, bytes, Wait::yes);
  if (!message.ok() || message->size == 0) ::_exit(0);  // not needed any more
  protocol::Header header;
  protocol::StartBody body;
  if (message->size < sizeof(header) + sizeof(body)) fail(internal_error("go without a request"));
  std::memcpy(&body, bytes.data() + sizeof(header), sizeof(body));
  const std::size_t engines = body.engine != static_cast<std::uint32_t>(Engine::none) ? 1 : 0;
  const std::size_t own = engines + (body.egress != 0 ? 1 : 0);
  if (message->fds.size() < own) fail(internal_error("go without an engine or a pipe"));
  auto request = protocol::decode_request({bytes.data(), message->size}, message->fds.size() - own);
  if (!request.ok()) fail(request.error());
  request_ = std::move(request->start);
  std::size_t next = 0;
  package_ = std::move(message->fds[next++]);
  output_ = std::move(message->fds[next++]);
  if (request_.model) model_ = std::move(message->fds[next++]);
  if (request_.runtime) runtime_ = std::move(message->fds[next++]);
  if (request_.layers) layers_ = std::move(message->fds[next++]);
  if (request_.restore) {
    image_ = std::move(message->fds[next++]);
    working_set_ = std::move(message->fds[next++]);
  }
  if (engines != 0) engine_ = std::move(message->fds[next++]);
  if (request_.egress) egress_ready_ = std::move(message->fds[next]);
}

void Setup::set_group_limits() {
  check(plan_.cgroups.set_limits(plan_.group, {.memory_bytes = request_.memory_bytes, .pids_max = request_.pids_max}));
}

void Setup::make_sockets() {
  auto sockets = make_tcp_sockets(request_.sockets);
  if (!sockets.ok()) fail(sockets.error());
  sockets_ = std::move(sockets).value();
  for (const std::uint16_t port : {request_.runtime_api_port, request_.calls_port}) {
    if (port == 0) continue;
    auto listener = listen_on_loopback(port);
    if (!listener.ok()) fail(listener.error());
    listeners_.push_back(std::move(listener).value());
  }
}

// The function's first connection must not come before the way out. The spawner bounds the wait.
void Setup::await_egress() {
  if (!egress_ready_.valid()) return;
  char ready = 0;
  const auto size = sys::read_some(egress_ready_, {&ready, 1});
  if (!size.ok() || *size == 0) fail(internal_error("the egress is not there: slirp4netns ended"));
  egress_ready_.reset();
}

void Setup::attach(const UniqueFd& tree, const char* target) {
  check(::move_mount(tree.get(), "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0, target);
}

// Covers a place with another one; a place that this kernel does not have is left.
void cover(const char* what, const char* place) {
  if (::mount(what, place, nullptr, MS_BIND, nullptr) != 0) return;
}

void Setup::mount_proc() {
  check(::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=2") == 0, "/proc");
  for (const char* file : kMaskedFiles) cover("/dev/null", file);
  for (const char* folder : kMaskedFolders) cover("/var/empty", folder);
  check(::mount("/proc/sys", "/proc/sys", nullptr, MS_BIND, nullptr) == 0, "/proc/sys");
  check(::mount(nullptr, "/proc/sys", nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                nullptr) == 0,
        "/proc/sys read-only");
}

void Setup::mount_own() {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV;
  // An inode costs kernel memory that is charged to the environment, too: bounded with the bytes.
  const std::uint64_t inodes = request_.tmp_bytes / 4096 + 1024;
  const std::string tmp =
      "mode=1777,size=" + std::to_string(request_.tmp_bytes) + ",nr_inodes=" + std::to_string(inodes);
  check(::mount("tmpfs", "/tmp", "tmpfs", kFlags, tmp.c_str()) == 0, "/tmp");
  const std::string shared = "mode=1777,size=" + std::to_string(request_.memory_bytes / 2) + ",nr_inodes=4096";
  check(::mount("tmpfs", "/dev/shm", "tmpfs", kFlags | MS_NOEXEC, shared.c_str()) == 0, "/dev/shm");
  attach(package_, "/var/task");
  if (engine_.valid()) attach(engine_, "/opt/thaw");
  if (model_.valid()) attach(model_, kModelFolder);
  if (runtime_.valid()) attach(runtime_, "/var/runtime");
  if (layers_.valid()) attach(layers_, "/opt");
  check(::chdir("/var/task") == 0, "the package");
}

void Setup::place_descriptors() {
  // So that /dev/stdout can be opened by name: that is checked against the pipe's owner.
  check(::fchown(output_.get(), plan_.uid, plan_.uid) == 0, "the output pipe");
  // First out of the way, so that no number is overwritten before it is used.
  const UniqueFd output(::fcntl(output_.get(), F_DUPFD_CLOEXEC, kParkedFd));
  const UniqueFd report(::fcntl(plan_.report.get(), F_DUPFD_CLOEXEC, kParkedFd));
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  check(output.valid() && report.valid() && null.valid(), "descriptors");
  check(::dup2(null.get(), STDIN_FILENO) >= 0 && ::dup2(output.get(), STDOUT_FILENO) >= 0 &&
            ::dup2(output.get(), STDERR_FILENO) >= 0 && ::dup2(report.get(), THAW_STUB_REPORT_FD) >= 0,
        "descriptors");
  placed_report_ = UniqueFd(THAW_STUB_REPORT_FD);
}

void Setup::set_limit(int resource, rlim_t soft, rlim_t hard) {
  rlimit now{};
  check(::getrlimit(static_cast<__rlimit_resource>(resource), &now) == 0, "getrlimit");
  // Raising a hard limit needs CAP_SYS_RESOURCE, which a container's root may lack.
  const rlimit wanted{.rlim_cur = std::min({soft, hard, now.rlim_max}), .rlim_max = std::min(hard, now.rlim_max)};
  check(::setrlimit(static_cast<__rlimit_resource>(resource), &wanted) == 0, "setrlimit");
}

void Setup::drop_privileges() {
  set_limit(RLIMIT_NOFILE, kOpenFilesSoft, kOpenFilesHard);
  set_limit(RLIMIT_CORE, 0, 0);
  set_limit(RLIMIT_STACK, kStackBytes, RLIM_INFINITY);

  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  check(::setgroups(0, nullptr) == 0, "setgroups");
  check(::syscall(SYS_setresgid, plan_.uid, plan_.uid, plan_.uid) == 0, "setresgid");
  check(::syscall(SYS_setresuid, plan_.uid, plan_.uid, plan_.uid) == 0, "setresuid");
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[2] = {};
  check(::syscall(SYS_capset, &header, none) == 0, "capset");
  check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
  // A change of user id clears it (prctl(2)).
  check(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "death signal");
  check(install_seccomp_filter(plan_.filter));
}

void Setup::send_finished() {
  report_.kind = kReportFinished;
  std::vector<int> fds;
  for (const UniqueFd& socket : sockets_) fds.push_back(socket.get());
  for (const UniqueFd& listener : listeners_) fds.push_back(listener.get());
  send(fds);
  listeners_.clear();
}

// Process 2, from the image. It gives its privileges up by itself, when it needs them no more.
void Setup::restore() {
  const long child = ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  check(child >= 0, "fork");
  if (child > 0) return;
  ::setsid();
  const thaw_stub_report running{THAW_STUB_RUNNING, 0};
  const auto share_memory = [this](const UniqueFd& userfault, std::string_view message) {
    std::string bytes(reinterpret_cast<const char*>(&kReportMemory), sizeof(kReportMemory));
    bytes += message;
    const int fds[] = {userfault.get(), working_set_.get(), image_.get()};
    return send_message(placed_report_, bytes, fds, Wait::yes);
  };
  plan_.images.become({.image = image_,
                       .share_memory = share_memory,
                       .output = output_,
                       .report = placed_report_,
                       .running = std::string(reinterpret_cast<const char*>(&running), sizeof(running)),
                       .failed =
                           [this](const Error& error) {
                             report_.kind = kReportFailed;
                             report_.error_kind = static_cast<std::uint32_t>(error.kind);
                             copy_text(error.code.empty() ? kRestoreFailed : error.code, report_.code);
                             copy_text(error.message, report_.text);
                             return std::string(reinterpret_cast<const char*>(&report_), sizeof(report_));
                           },
                       .user = plan_.uid,
                       .filter = plan_.filter});
}

void Setup::become_stub() {
  const auto pointers = [](const std::vector<std::string>& list, const char* first) {
    std::vector<char*> result;
    if (first != nullptr) result.push_back(const_cast<char*>(first));
    for (const std::string& text : list) result.push_back(const_cast<char*>(text.c_str()));
    result.push_back(nullptr);
    return result;
  };
  // Without a command it takes on the function that is there already.
  const std::vector<std::string> none;
  const std::vector<char*> arguments = pointers(request_.restore ? none : request_.argv, "thaw-stub");
  const std::vector<char*> variables = pointers(request_.environment, nullptr);
  if (!request_.restore) send_finished();
  // All descriptors are CLOEXEC; this holds even for one that the spawner was started with.
  ::syscall(SYS_close_range, THAW_STUB_REPORT_FD + 1, ~0U, 0);
  ::execve(kStubPath, arguments.data(), variables.data());
  fail(sys::errno_error("execve of the stub"));
}

}  // namespace

const char* to_string(SetupStep step) {
  switch (step) {
    case SetupStep::cgroup:
      return "cgroup";
    case SetupStep::namespaces:
      return "namespaces";
    case SetupStep::network:
      return "network";
    case SetupStep::proc:
      return "proc";
    case SetupStep::wait:
      return "wait";
    case SetupStep::limits:
      return "limits";
    case SetupStep::mounts:
      return "mounts";
    case SetupStep::sockets:
      return "sockets";
    case SetupStep::privileges:
      return "privileges";
    case SetupStep::stub:
      return "stub";
  }
  return "?";
}

Error error_of(SetupReport report) {
  report.code[sizeof(report.code) - 1] = '\0';
  report.text[sizeof(report.text) - 1] = '\0';
  if (report.code[0] == '\0' || report.error_kind > static_cast<std::uint32_t>(ErrorKind::internal))
    return internal_error(std::string("environment start, step ") + to_string(report.step) + ": " + report.text);
  return {static_cast<ErrorKind>(report.error_kind), report.text, report.code};
}

Error error_of_failed_step(std::span<const std::byte, kFailedStepBytes> step) {
  std::uint64_t words[2];
  std::memcpy(words, step.data(), sizeof(words));
  const auto result = static_cast<std::int64_t>(words[1]);
  const std::string what = "the snapshot could not be restored: system call " + std::to_string(words[0] >> 32);
  if (result >= 0) {
    // It did, but not all that it was to do: pages that are not there.
    return {ErrorKind::corrupt, what + " returned " + std::to_string(result), std::string(kRestoreFailed)};
  }
  const auto number = static_cast<int>(-result);
  Error error = sys::errno_error(what, number);
  error.code = kRestoreFailed;
  // What is short may be there the next time; a call that is refused for another reason always will be.
  const bool passes = number == EAGAIN || number == EMFILE || number == ENFILE || number == EINTR;
  if (error.kind == ErrorKind::internal && !passes) error.kind = ErrorKind::unsupported;
  return error;
}

Result<UniqueFd> clone_read_only(const UniqueFd& folder) {
  UniqueFd tree(::open_tree(folder.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!tree.valid()) return sys::errno_error("open_tree of a folder");
  mount_attr attributes{.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                        .attr_clr = 0,
                        .propagation = MS_PRIVATE,
                        .userns_fd = 0};
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0) {
    return sys::errno_error("mount_setattr of a folder");
  }
  return tree;
}

void become_environment(const SetupPlan& plan) { Setup(plan).run(); }

Result<UniqueFd> listen_on_loopback(std::uint16_t port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return sys::errno_error("socket of the Runtime API");
  const int on = 1;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
    return sys::errno_error("SO_REUSEADDR");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return sys::errno_error("bind 127.0.0.1:" + std::to_string(port));
  if (::listen(socket.get(), kBacklog) != 0) return sys::errno_error("listen on 127.0.0.1:" + std::to_string(port));
  return socket;
}

Result<std::vector<UniqueFd>> make_tcp_sockets(std::uint32_t count) {
  std::vector<UniqueFd> sockets;
  sockets.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return sys::errno_error("socket in the environment");
    const int on = 1;
    if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) {
      return sys::errno_error("TCP_NODELAY");
    }
    sockets.push_back(std::move(socket));
  }
  return sockets;
}

}  // namespace thaw::sandbox
