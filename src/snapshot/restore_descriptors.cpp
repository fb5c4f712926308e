// Descriptors, made anew.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "base/sys.h"
#include "snapshot/proc_files.h"
#include "snapshot/restore_parts.h"

namespace thaw::snapshot {
namespace {

constexpr int kNever = O_CREAT | O_TRUNC | O_EXCL | O_NOCTTY;
constexpr int kSettable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, std::uint64_t)
#endif

class Maker {
 public:
  Maker(const RestoreContext& context, const std::vector<int>& objects)
      : context_(context), image_(context.image), objects_(objects), sockets_(context) {}

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
    for (const Descriptor& descriptor : image_.descriptors) RETURN_IF_ERROR(sockets_.fill(descriptor));
    for (const Descriptor& descriptor : image_.descriptors) {
      RETURN_IF_ERROR(SocketMaker::shut(descriptor));
      RETURN_IF_ERROR(restore_locks(descriptor));
    }
    return {};
  }

 private:
  Result<UniqueFd> up(int fd) const { return move_above(fd, context_.first_free); }

  Result<UniqueFd> make(const Descriptor& descriptor) {
    if (SocketMaker::makes(descriptor.kind)) return sockets_.make(descriptor);
    switch (descriptor.kind) {
      case DescriptorKind::file:
      case DescriptorKind::device:
        return make_file(descriptor);
      case DescriptorKind::output:
        return up(::dup(context_.output));
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
      case DescriptorKind::object:
        return make_object(descriptor);
      case DescriptorKind::inotify:
        return up(::inotify_init1(IN_CLOEXEC));
      default:
        return internal_error("snapshot: a descriptor of an unknown kind");
    }
  }

  static Status set_position(const UniqueFd& file, const Descriptor& descriptor) {
    if (descriptor.position > 0 && ::lseek(file.get(), static_cast<off_t>(descriptor.position), SEEK_SET) < 0)
      return sys::errno_error("lseek");
    return {};
  }

  // Another description of the object, with the flags and the position that this one had.
  Result<UniqueFd> make_object(const Descriptor& descriptor) {
    const std::string link = "/proc/self/fd/" + std::to_string(objects_[descriptor.object]);
    const int flags = static_cast<int>(descriptor.status_flags) & ~(kNever | O_TMPFILE | O_NOFOLLOW);
    ASSIGN_OR_RETURN(UniqueFd file, up(::open(link.c_str(), flags | O_CLOEXEC)));
    RETURN_IF_ERROR(set_position(file, descriptor));
    return file;
  }

  // What is not the environment's own is opened with the rights of its user: an image cannot ask for more.
  Result<UniqueFd> open_path(const std::string& path, int flags, bool own) const {
    const bool as_user = context_.user != 0 && !own;
    if (as_user) {
      ::setfsgid(context_.user);
      ::setfsuid(context_.user);
    }
    auto file = up(::open(path.c_str(), flags | O_CLOEXEC));
    if (as_user) {
      ::setfsuid(0);
      ::setfsgid(0);
    }
    if (!file.ok()) return Error{file.error().kind, path + ": " + file.error().message};
    return file;
  }

  Result<UniqueFd> make_file(const Descriptor& descriptor) {
    int flags = static_cast<int>(descriptor.status_flags) & ~kNever;
    // It has got a name since it was made.
    if ((flags & O_TMPFILE) == O_TMPFILE) flags &= ~O_TMPFILE;
    const bool own = is_private(context_.private_folders, descriptor.path);
    ASSIGN_OR_RETURN(UniqueFd file, open_path(descriptor.path, flags, own));
    if (descriptor.kind == DescriptorKind::device) return file;
    ASSIGN_OR_RETURN(FileIdentity found, identify(file.get()));
    found = lasting(descriptor.path, found);
    const bool any = own || descriptor.file == FileIdentity();
    if (!any && (found.device != descriptor.file.device || found.inode != descriptor.file.inode))
      return Error{ErrorKind::unsupported, "snapshot: " + descriptor.path + " is another file now"};
    RETURN_IF_ERROR(set_position(file, descriptor));
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
    UniqueFd given(::fcntl(end.get(), F_DUPFD_CLOEXEC, static_cast<int>(context_.first_free)));
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

  Status place(const Descriptor& descriptor, const UniqueFd& made) {
    // The output pipe and its flags belong to whoever gave it.
    const bool opened = descriptor.kind == DescriptorKind::file || descriptor.kind == DescriptorKind::object;
    if (descriptor.kind != DescriptorKind::output && !opened) {
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

  const RestoreContext& context_;
  const Image& image_;
  const std::vector<int>& objects_;
  SocketMaker sockets_;
  std::map<std::uint64_t, std::pair<UniqueFd, UniqueFd>> pipes_;
};

}  // namespace

Result<UniqueFd> move_above(int fd, std::uint32_t first_free) {
  const UniqueFd low(fd);
  if (!low.valid()) return sys::errno_error("make a descriptor");
  UniqueFd high(::fcntl(low.get(), F_DUPFD_CLOEXEC, static_cast<int>(first_free)));
  if (!high.valid()) return sys::errno_error("make a descriptor");
  return high;
}

Status restore_descriptors(const RestoreContext& context, const std::vector<int>& objects) {
  return Maker(context, objects).run();
}

}  // namespace thaw::snapshot
