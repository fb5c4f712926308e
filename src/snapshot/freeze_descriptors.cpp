// Open descriptors of a held process: which share an open file description, and what each is.
#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <sstream>

#include "base/sys.h"
#include "snapshot/freeze.h"
#include "snapshot/proc_files.h"
#include "snapshot/tracee.h"
#include "snapshot/unix_peers.h"

namespace thaw::snapshot {
namespace {

constexpr std::size_t kQueuedBytesMax = 1 << 20;
constexpr unsigned kNullMajor = 1;  // /dev/null, zero, full, random, urandom
constexpr std::uint32_t kListenBacklog = 4096;

struct Open {
  std::uint32_t number = 0;
  std::string link;
  std::string info;  // fdinfo
  struct stat status {};
  UniqueFd copy;  // the same open file description
};

Error refuse(const Open& open, const std::string& why) {
  return {ErrorKind::unsupported, "descriptor " + std::to_string(open.number) + " is " + why};
}

Result<std::vector<Open>> list(Tracee& tracee) {
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, tracee.pid(), 0)));
  if (!process.valid()) return sys::errno_error("pidfd_open");
  DIR* folder = ::opendir(proc_path(tracee.pid(), "fd").c_str());
  if (folder == nullptr) return sys::errno_error("the descriptors of a process");
  std::vector<Open> all;
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] == '.') continue;
    all.push_back({.number = static_cast<std::uint32_t>(number(entry->d_name))});
  }
  ::closedir(folder);
  std::sort(all.begin(), all.end(), [](const Open& a, const Open& b) { return a.number < b.number; });
  for (Open& open : all) {
    const std::string name = std::to_string(open.number);
    ASSIGN_OR_RETURN(open.link, read_link(proc_path(tracee.pid(), "fd/" + name)));
    ASSIGN_OR_RETURN(open.info, read_proc(tracee.pid(), "fdinfo/" + name));
    open.copy = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), open.number, 0)));
    if (!open.copy.valid() || ::fstat(open.copy.get(), &open.status) != 0) return sys::errno_error("pidfd_getfd");
  }
  return all;
}

std::uint64_t field(const Open& open, std::string_view key, int base = 10) {
  return number(value_of(open.info, key).value_or("0"), base);
}

Status read_file(pid_t pid, const Open& open, Descriptor& descriptor) {
  if (open.link.ends_with(" (deleted)"))
    return refuse(open, "the deleted file " + open.link + ": close it before the snapshot");
  descriptor.kind = DescriptorKind::file;
  descriptor.path = open.link;
  descriptor.position = field(open, "pos");
  ASSIGN_OR_RETURN(descriptor.file, identify(open.copy.get()));
  const auto named = identify(proc_path(pid, "root") + open.link);
  if (!named.ok() || named->device != descriptor.file.device || named->inode != descriptor.file.inode)
    return refuse(open, "a file that is no longer at " + open.link + ": close it before the snapshot");
  return {};
}

Status read_device(const Open& open, Descriptor& descriptor) {
  if (major(open.status.st_rdev) != kNullMajor) return refuse(open, "the device " + open.link);
  descriptor.kind = DescriptorKind::device;
  descriptor.path = open.link;
  return {};
}

Status read_pipe(const Open& open, const FreezeRequest& request, Descriptor& descriptor) {
  if (request.output_pipe != 0 && open.status.st_ino == request.output_pipe) {
    descriptor.kind = DescriptorKind::output;
    return {};
  }
  if (!open.link.starts_with("pipe:")) return refuse(open, "the named pipe " + open.link);
  descriptor.kind = DescriptorKind::pipe;
  descriptor.pair = open.status.st_ino;
  descriptor.capacity = static_cast<std::uint32_t>(::fcntl(open.copy.get(), F_GETPIPE_SZ));
  if ((descriptor.status_flags & O_ACCMODE) != O_RDONLY) return {};
  int waiting = 0;
  if (::ioctl(open.copy.get(), FIONREAD, &waiting) != 0) return sys::errno_error("FIONREAD");
  if (waiting == 0) return {};
  // tee(2) copies without taking: the bytes stay where they are.
  ASSIGN_OR_RETURN(const sys::Pipe copy, sys::pipe(O_NONBLOCK));
  ::fcntl(copy.write_end.get(), F_SETPIPE_SZ, descriptor.capacity);
  const ssize_t copied =
      ::tee(open.copy.get(), copy.write_end.get(), static_cast<std::size_t>(waiting), SPLICE_F_NONBLOCK);
  if (copied != waiting) return refuse(open, "a pipe whose bytes cannot be copied");
  descriptor.queued.resize(static_cast<std::size_t>(waiting));
  std::size_t have = 0;
  while (have < descriptor.queued.size()) {
    const ssize_t got = ::read(copy.read_end.get(), descriptor.queued.data() + have, descriptor.queued.size() - have);
    if (got <= 0) return refuse(open, "a pipe whose bytes cannot be copied");
    have += static_cast<std::size_t>(got);
  }
  return {};
}

Status read_anonymous(const Open& open, Descriptor& descriptor) {
  if (open.link == "anon_inode:[eventfd]") {
    descriptor.kind = DescriptorKind::eventfd;
    descriptor.count = field(open, "eventfd-count", 16);
    descriptor.mode = static_cast<std::uint32_t>(field(open, "eventfd-semaphore"));
    return {};
  }
  if (open.link == "anon_inode:[timerfd]") {
    descriptor.kind = DescriptorKind::timerfd;
    descriptor.mode = static_cast<std::uint32_t>(field(open, "clockid"));
    descriptor.ticks = field(open, "ticks");
    const auto pair = [&](std::string_view key, std::size_t at) {
      const std::string_view text = value_of(open.info, key).value_or("(0, 0)");
      descriptor.timer[at] = number(text.substr(1));
      descriptor.timer[at + 1] = number(text.substr(text.find(',') + 1));
    };
    pair("it_interval", 0);
    pair("it_value", 2);
    return {};
  }
  if (open.link == "anon_inode:[signalfd]") {
    descriptor.kind = DescriptorKind::signalfd;
    descriptor.count = field(open, "sigmask", 16);
    return {};
  }
  if (open.link == "anon_inode:[eventpoll]") {
    descriptor.kind = DescriptorKind::epoll;
    std::istringstream lines(open.info);
    for (std::string line; std::getline(lines, line);) {
      unsigned long long target = 0;
      unsigned long long events = 0;
      unsigned long long data = 0;
      if (std::sscanf(line.c_str(), "tfd: %llu events: %llx data: %llx", &target, &events, &data) == 3)
        descriptor.watched.push_back({static_cast<std::uint32_t>(target), static_cast<std::uint32_t>(events), data});
    }
    return {};
  }
  if (open.link == "anon_inode:[io_uring]")
    return refuse(open, "an io_uring instance: disable it or close it in the before-snapshot hook");
  if (open.link == "anon_inode:inotify")
    return refuse(open,
                  "an inotify instance: watch files only after the snapshot, or close it in the before-snapshot hook");
  return refuse(open, open.link + ", which cannot be frozen: close it in the before-snapshot hook");
}

int option(const Open& open, int level, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  return ::getsockopt(open.copy.get(), level, name, &value, &size) == 0 ? value : -1;
}

void keep_option(const Open& open, Descriptor& descriptor, int level, int name) {
  const int value = option(open, level, name);
  if (value > 0)
    descriptor.options.push_back(
        {static_cast<std::uint32_t>(level), static_cast<std::uint32_t>(name), static_cast<std::uint32_t>(value)});
}

Status read_internet_socket(const Open& open, const FreezeRequest& request, Descriptor& descriptor) {
  for (const int name : {SO_REUSEADDR, SO_REUSEPORT, SO_KEEPALIVE}) keep_option(open, descriptor, SOL_SOCKET, name);
  if (descriptor.type == SOCK_STREAM) keep_option(open, descriptor, IPPROTO_TCP, TCP_NODELAY);
  if (descriptor.mode == AF_INET6) keep_option(open, descriptor, IPPROTO_IPV6, IPV6_V6ONLY);
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(open.copy.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return sys::errno_error("getsockname");
  const auto* bytes = reinterpret_cast<const std::byte*>(&address);
  if (option(open, SOL_SOCKET, SO_ACCEPTCONN) == 1) {
    descriptor.kind = DescriptorKind::tcp_listener;
    descriptor.address.assign(bytes, bytes + size);
    descriptor.count = kListenBacklog;
    return {};
  }
  sockaddr_storage peer{};
  socklen_t peer_size = sizeof(peer);
  const bool connected = ::getpeername(open.copy.get(), reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0;
  std::uint16_t port = 0;
  std::memcpy(&port, bytes + 2, sizeof(port));
  if (descriptor.type != SOCK_STREAM) {
    if (connected || port != 0) return refuse(open, "a datagram socket in use: close it in the before-snapshot hook");
    descriptor.kind = DescriptorKind::tcp_fresh;
    return {};
  }
  // TCP_CLOSE with a local port was connected once, too.
  const bool fresh = !connected && port == 0;
  if (!fresh && request.strict_connections)
    return refuse(open, "an open TCP connection, and the manifest wants none: close it in the before-snapshot hook");
  descriptor.kind = fresh ? DescriptorKind::tcp_fresh : DescriptorKind::tcp_reset;
  return {};
}

Status read_socket(const Open& open, const FreezeRequest& request, Descriptor& descriptor) {
  descriptor.mode = static_cast<std::uint32_t>(option(open, SOL_SOCKET, SO_DOMAIN));
  descriptor.type = static_cast<std::uint32_t>(option(open, SOL_SOCKET, SO_TYPE));
  if (descriptor.mode == AF_INET || descriptor.mode == AF_INET6) return read_internet_socket(open, request, descriptor);
  if (descriptor.mode != AF_UNIX) return refuse(open, "a socket of family " + std::to_string(descriptor.mode));
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(open.copy.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return sys::errno_error("getsockname");
  if (size > sizeof(sa_family_t) || option(open, SOL_SOCKET, SO_ACCEPTCONN) == 1 || descriptor.type != SOCK_STREAM)
    return refuse(open, "a unix socket that is not one of a pair of streams: close it in the before-snapshot hook");
  descriptor.kind = DescriptorKind::socketpair;
  int waiting = 0;
  if (::ioctl(open.copy.get(), FIONREAD, &waiting) != 0) return sys::errno_error("FIONREAD");
  if (static_cast<std::size_t>(waiting) > kQueuedBytesMax) return refuse(open, "a socket with too many bytes in it");
  descriptor.queued.resize(static_cast<std::size_t>(waiting));
  if (waiting > 0 && ::recv(open.copy.get(), descriptor.queued.data(), descriptor.queued.size(),
                            MSG_PEEK | MSG_DONTWAIT | MSG_WAITALL) != waiting) {
    return refuse(open, "a unix socket whose bytes cannot be copied");
  }
  return {};
}

Status read_one(pid_t pid, const Open& open, const FreezeRequest& request, Descriptor& descriptor) {
  descriptor.status_flags =
      static_cast<std::uint32_t>(field(open, "flags", 8)) & ~static_cast<std::uint32_t>(O_CLOEXEC);
  switch (open.status.st_mode & S_IFMT) {
    case S_IFREG:
      if (open.link.starts_with("/memfd:")) return refuse(open, "a memfd: close it in the before-snapshot hook");
      [[fallthrough]];
    case S_IFDIR:
      return read_file(pid, open, descriptor);
    case S_IFCHR:
      return read_device(open, descriptor);
    case S_IFIFO:
      return read_pipe(open, request, descriptor);
    case S_IFSOCK:
      return read_socket(open, request, descriptor);
    default:
      return read_anonymous(open, descriptor);
  }
}

bool same_description(pid_t pid, std::uint32_t a, std::uint32_t b) {
  return ::syscall(SYS_kcmp, pid, pid, KCMP_FILE, a, b) == 0;
}

}  // namespace

Status read_descriptors(Tracee& tracee, const FreezeRequest& request, Image& image) {
  ASSIGN_OR_RETURN(const std::vector<Open> opens, list(tracee));
  std::map<std::uint64_t, std::uint64_t> peers;
  std::multimap<std::pair<std::uint64_t, std::uint64_t>, std::size_t> seen;  // device and inode
  for (const Open& open : opens) {
    const auto close_on_exec = static_cast<std::uint8_t>((field(open, "flags", 8) & O_CLOEXEC) != 0);
    const std::pair<std::uint64_t, std::uint64_t> file(open.status.st_dev, open.status.st_ino);
    const auto range = seen.equal_range(file);
    const auto same = std::find_if(range.first, range.second, [&](const auto& entry) {
      return same_description(tracee.pid(), image.descriptors[entry.second].numbers.front(), open.number);
    });
    if (same != range.second) {
      image.descriptors[same->second].numbers.push_back(open.number);
      image.descriptors[same->second].close_on_exec.push_back(close_on_exec);
      continue;
    }
    Descriptor descriptor;
    descriptor.numbers = {open.number};
    descriptor.close_on_exec = {close_on_exec};
    RETURN_IF_ERROR(read_one(tracee.pid(), open, request, descriptor));
    if (descriptor.kind == DescriptorKind::socketpair) {
      if (peers.empty()) {
        ASSIGN_OR_RETURN(peers, unix_peers(tracee.pid()));
      }
      const auto peer = peers.find(open.status.st_ino);
      if (peer == peers.end())
        return refuse(open, "a unix socket without a peer: close it in the before-snapshot hook");
      descriptor.pair = std::min(peer->first, peer->second);
    }
    seen.emplace(file, image.descriptors.size());
    image.descriptors.push_back(std::move(descriptor));
  }
  std::map<std::uint64_t, std::size_t> ends;
  for (const Descriptor& descriptor : image.descriptors) {
    if (descriptor.kind == DescriptorKind::socketpair) ++ends[descriptor.pair];
  }
  for (const Descriptor& descriptor : image.descriptors) {
    if (descriptor.kind != DescriptorKind::socketpair || ends[descriptor.pair] == 2) continue;
    return Error{ErrorKind::unsupported, "descriptor " + std::to_string(descriptor.numbers.front()) +
                                             " is a unix socket whose peer is in no descriptor of the function: close "
                                             "it in the before-snapshot hook"};
  }
  return {};
}

}  // namespace thaw::snapshot
