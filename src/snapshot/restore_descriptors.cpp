// Descriptors, made anew.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "base/sys.h"
#include "snapshot/proc_files.h"
#include "snapshot/restore.h"

namespace thaw::snapshot {
namespace {

constexpr int kSettable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, std::uint64_t)
#endif

class Maker {
 public:
  Maker(const Image& image, int output, std::uint32_t first_free)
      : image_(image), output_(output), first_free_(first_free) {}

  Status run() {
    for (const Descriptor& descriptor : image_.descriptors) {
      if (descriptor.kind == DescriptorKind::epoll) continue;
      ASSIGN_OR_RETURN(UniqueFd made, make(descriptor));
      RETURN_IF_ERROR(place(descriptor, made));
    }
    for (const Descriptor& descriptor : image_.descriptors) {
      if (descriptor.kind != DescriptorKind::epoll) continue;
      ASSIGN_OR_RETURN(const UniqueFd made, up(::epoll_create1(EPOLL_CLOEXEC)));
      RETURN_IF_ERROR(place(descriptor, made));
    }
    // An epoll may watch another one: all are there now.
    for (const Descriptor& descriptor : image_.descriptors) RETURN_IF_ERROR(watch(descriptor));
    for (const Descriptor& descriptor : image_.descriptors) RETURN_IF_ERROR(fill(descriptor));
    return {};
  }

 private:
  // Out of the way of the numbers that are still to be given out.
  Result<UniqueFd> up(int fd) const {
    const UniqueFd low(fd);
    if (!low.valid()) return sys::errno_error("make a descriptor");
    UniqueFd high(::fcntl(low.get(), F_DUPFD_CLOEXEC, static_cast<int>(first_free_)));
    if (!high.valid()) return sys::errno_error("make a descriptor");
    return high;
  }

  Result<UniqueFd> make(const Descriptor& descriptor) {
    switch (descriptor.kind) {
      case DescriptorKind::file:
      case DescriptorKind::device:
        return make_file(descriptor);
      case DescriptorKind::output:
        return up(::dup(output_));
      case DescriptorKind::pipe:
        return make_pipe(descriptor);
      case DescriptorKind::eventfd:
        return make_eventfd(descriptor);
      case DescriptorKind::timerfd:
        return make_timer(descriptor);
      case DescriptorKind::signalfd: {
        sigset_t mask{};
        std::memcpy(&mask, &descriptor.count, sizeof(descriptor.count));
        return up(::signalfd(-1, &mask, SFD_CLOEXEC));
      }
      case DescriptorKind::socketpair:
        return make_socketpair(descriptor);
      default:
        return make_internet_socket(descriptor);
    }
  }

  Result<UniqueFd> make_file(const Descriptor& descriptor) {
    constexpr int kNever = O_CREAT | O_TRUNC | O_EXCL | O_NOCTTY;
    ASSIGN_OR_RETURN(UniqueFd file, up(::open(descriptor.path.c_str(),
                                              (static_cast<int>(descriptor.status_flags) & ~kNever) | O_CLOEXEC)));
    if (descriptor.kind == DescriptorKind::device) return file;
    ASSIGN_OR_RETURN(const FileIdentity found, identify(file.get()));
    if (found.device != descriptor.file.device || found.inode != descriptor.file.inode)
      return Error{ErrorKind::unsupported, "snapshot: " + descriptor.path + " is another file now"};
    if (descriptor.position > 0 && ::lseek(file.get(), static_cast<off_t>(descriptor.position), SEEK_SET) < 0)
      return sys::errno_error("lseek");
    return file;
  }

  // Both ends are made when the first is asked for; an end that nobody has is dropped with this object.
  Result<UniqueFd> make_pipe(const Descriptor& descriptor) {
    if (!pipes_.contains(descriptor.pair)) {
      ASSIGN_OR_RETURN(sys::Pipe made, sys::pipe());
      ::fcntl(made.read_end.get(), F_SETPIPE_SZ, static_cast<int>(descriptor.capacity));
      ASSIGN_OR_RETURN(UniqueFd read_end, up(std::move(made.read_end).release()));
      ASSIGN_OR_RETURN(UniqueFd write_end, up(std::move(made.write_end).release()));
      pipes_.emplace(descriptor.pair, std::pair(std::move(read_end), std::move(write_end)));
    }
    auto& [read_end, write_end] = pipes_.at(descriptor.pair);
    const bool reads = (descriptor.status_flags & O_ACCMODE) == O_RDONLY;
    if (reads && !descriptor.queued.empty()) {
      const std::string_view bytes(reinterpret_cast<const char*>(descriptor.queued.data()), descriptor.queued.size());
      RETURN_IF_ERROR(sys::write_all(write_end, bytes));
    }
    UniqueFd& end = reads ? read_end : write_end;
    // A pipe can be opened more than once (/proc/self/fd): later ones share the description.
    UniqueFd given(::fcntl(end.get(), F_DUPFD_CLOEXEC, static_cast<int>(first_free_)));
    if (!given.valid()) return sys::errno_error("a pipe");
    return given;
  }

  Result<UniqueFd> make_eventfd(const Descriptor& descriptor) {
    ASSIGN_OR_RETURN(UniqueFd made, up(::eventfd(0, EFD_CLOEXEC | (descriptor.mode != 0 ? EFD_SEMAPHORE : 0))));
    if (descriptor.count > 0 && ::write(made.get(), &descriptor.count, sizeof(descriptor.count)) != 8)
      return sys::errno_error("an eventfd");
    return made;
  }

  Result<UniqueFd> make_timer(const Descriptor& descriptor) {
    ASSIGN_OR_RETURN(UniqueFd made, up(::timerfd_create(static_cast<int>(descriptor.mode), TFD_CLOEXEC)));
    itimerspec time{};
    std::memcpy(&time, descriptor.timer.data(), sizeof(time));
    const bool repeats = time.it_interval.tv_sec != 0 || time.it_interval.tv_nsec != 0;
    const bool armed = time.it_value.tv_sec != 0 || time.it_value.tv_nsec != 0;
    // It has fired and nobody has read it yet: armed with 0 it would never fire again.
    if (repeats && !armed) time.it_value.tv_nsec = 1;
    if ((repeats || armed) && ::timerfd_settime(made.get(), 0, &time, nullptr) != 0)
      return sys::errno_error("a timerfd");
    if (descriptor.ticks > 0 && ::ioctl(made.get(), TFD_IOC_SET_TICKS, &descriptor.ticks) != 0)
      return sys::errno_error("a timerfd's expirations");
    return made;
  }

  Result<UniqueFd> make_socketpair(const Descriptor& descriptor) {
    const auto waiting = sockets_.find(descriptor.pair);
    if (waiting != sockets_.end()) return std::move(waiting->second);
    int ends[2] = {};
    if (::socketpair(AF_UNIX, static_cast<int>(descriptor.type) | SOCK_CLOEXEC, 0, ends) != 0)
      return sys::errno_error("socketpair");
    ASSIGN_OR_RETURN(UniqueFd mine, up(ends[0]));
    ASSIGN_OR_RETURN(UniqueFd other, up(ends[1]));
    sockets_.emplace(descriptor.pair, std::move(other));
    return mine;
  }

  static Status set_options(const UniqueFd& socket, const Descriptor& descriptor) {
    for (const auto& [level, name, value] : descriptor.options) {
      const int set = static_cast<int>(value);
      if (::setsockopt(socket.get(), static_cast<int>(level), static_cast<int>(name), &set, sizeof(set)) != 0)
        return sys::errno_error("setsockopt");
    }
    return {};
  }

  Result<UniqueFd> make_internet_socket(const Descriptor& descriptor) {
    ASSIGN_OR_RETURN(UniqueFd socket, up(::socket(static_cast<int>(descriptor.mode),
                                                  static_cast<int>(descriptor.type) | SOCK_CLOEXEC, 0)));
    RETURN_IF_ERROR(set_options(socket, descriptor));
    if (descriptor.kind == DescriptorKind::tcp_listener) {
      const auto* address = reinterpret_cast<const sockaddr*>(descriptor.address.data());
      if (::bind(socket.get(), address, static_cast<socklen_t>(descriptor.address.size())) != 0 ||
          ::listen(socket.get(), static_cast<int>(descriptor.count)) != 0) {
        return sys::errno_error("a listening socket");
      }
    }
    if (descriptor.kind == DescriptorKind::tcp_reset) return make_reset(descriptor);
    return socket;
  }

  // A real connection over the loopback whose other end closes with a reset.
  Result<UniqueFd> make_reset(const Descriptor& descriptor) {
    const bool six = descriptor.mode == AF_INET6;
    const UniqueFd listener(::socket(static_cast<int>(descriptor.mode), SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage address{};
    socklen_t size = six ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    address.ss_family = static_cast<sa_family_t>(descriptor.mode);
    if (six) {
      reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr = in6addr_loopback;
    } else {
      reinterpret_cast<sockaddr_in*>(&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    auto* const name = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener.get(), name, size) != 0 || ::listen(listener.get(), 1) != 0 ||
        ::getsockname(listener.get(), name, &size) != 0) {
      return sys::errno_error("a connection to be reset");
    }
    ASSIGN_OR_RETURN(UniqueFd socket, up(::socket(static_cast<int>(descriptor.mode), SOCK_STREAM | SOCK_CLOEXEC, 0)));
    if (::connect(socket.get(), name, size) != 0) return sys::errno_error("a connection to be reset");
    const UniqueFd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const linger now{1, 0};
    if (!peer.valid() || ::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now)) != 0)
      return sys::errno_error("a connection to be reset");
    return socket;
  }

  Status place(const Descriptor& descriptor, const UniqueFd& made) {
    // The output pipe and its flags belong to whoever gave it.
    if (descriptor.kind != DescriptorKind::output && descriptor.kind != DescriptorKind::file) {
      const int flags = static_cast<int>(descriptor.status_flags) & kSettable;
      if (flags != 0 && ::fcntl(made.get(), F_SETFL, flags) != 0) return sys::errno_error("F_SETFL");
    }
    for (std::size_t i = 0; i < descriptor.numbers.size(); ++i) {
      const int flags = descriptor.close_on_exec[i] != 0 ? O_CLOEXEC : 0;
      if (::dup3(made.get(), static_cast<int>(descriptor.numbers[i]), flags) < 0) return sys::errno_error("dup3");
    }
    return {};
  }

  static Status watch(const Descriptor& descriptor) {
    for (const EpollEntry& entry : descriptor.watched) {
      epoll_event event{.events = entry.events, .data = {.u64 = entry.data}};
      if (::epoll_ctl(static_cast<int>(descriptor.numbers.front()), EPOLL_CTL_ADD, static_cast<int>(entry.descriptor),
                      &event) != 0) {
        return sys::errno_error("watch descriptor " + std::to_string(entry.descriptor));
      }
    }
    return {};
  }

  // What waits in one end has been sent by the other.
  Status fill(const Descriptor& descriptor) const {
    if (descriptor.kind != DescriptorKind::socketpair || descriptor.queued.empty()) return {};
    for (const Descriptor& other : image_.descriptors) {
      if (other.kind != DescriptorKind::socketpair || other.pair != descriptor.pair || &other == &descriptor) continue;
      const ssize_t sent = ::send(static_cast<int>(other.numbers.front()), descriptor.queued.data(),
                                  descriptor.queued.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent != static_cast<ssize_t>(descriptor.queued.size())) return sys::errno_error("fill a socket");
    }
    return {};
  }

  const Image& image_;
  const int output_;
  const std::uint32_t first_free_;
  std::map<std::uint64_t, std::pair<UniqueFd, UniqueFd>> pipes_;
  std::map<std::uint64_t, UniqueFd> sockets_;
};

}  // namespace

Status restore_descriptors(const Image& image, int output, std::uint32_t first_free) {
  return Maker(image, output, first_free).run();
}

}  // namespace thaw::snapshot
