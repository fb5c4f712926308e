// Open descriptors of a held process: which share an open file description, and what each is.
#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <sstream>

#include "base/sys.h"
#include "snapshot/freeze.h"
#include "snapshot/freeze_objects.h"
#include "snapshot/open_descriptor.h"
#include "snapshot/tracee.h"

namespace thaw::snapshot {
namespace {

constexpr unsigned kNullMajor = 1;  // /dev/null, zero, full, random, urandom

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

Status read_file(pid_t pid, const Open& open, const FreezeRequest& request, Objects& objects, Descriptor& descriptor) {
  descriptor.position = field(open, "pos");
  const auto kind = Objects::kind_of(open.link, open.status);
  if (!kind.ok()) return refuse(open, kind.error().message);
  if (kind->has_value()) {
    descriptor.kind = DescriptorKind::object;
    const auto object = objects.take(**kind, open.link, proc_path(pid, "fd/" + std::to_string(open.number)));
    if (!object.ok()) return refuse(open, object.error().message);
    descriptor.object = *object;
    return read_locks(open, Lockable::own_file, descriptor);
  }
  descriptor.kind = DescriptorKind::file;
  descriptor.path = open.link;
  ASSIGN_OR_RETURN(descriptor.file, identify(open.copy.get()));
  const auto named = identify(proc_path(pid, "root") + open.link);
  if (!named.ok() || named->device != descriptor.file.device || named->inode != descriptor.file.inode)
    return refuse(open, "a file that is no longer at " + open.link + ": close it before the snapshot");
  descriptor.file = lasting(open.link, descriptor.file);
  // Files of /proc tell of whoever reads them; another environment has another /proc.
  struct statfs system {};
  if (::fstatfs(open.copy.get(), &system) == 0 && system.f_type == PROC_SUPER_MAGIC) descriptor.file = {};
  const bool own = is_private(request.private_folders, open.link);
  return read_locks(open, own ? Lockable::own_file : Lockable::shared_file, descriptor);
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

constexpr int kTimerLooks = 3;
constexpr useconds_t kTimerPauseUs = 500;

Status read_timer(pid_t pid, const Open& open, Descriptor& descriptor) {
  descriptor.kind = DescriptorKind::timerfd;
  // A repeating timer that has fired stands still until somebody looks: the kernel counts what it missed only then.
  itimerspec left{};
  for (int look = 0; look < kTimerLooks; ++look) {
    if (::timerfd_gettime(open.copy.get(), &left) != 0) return sys::errno_error("timerfd_gettime");
    ASSIGN_OR_RETURN(const std::string info, read_proc(pid, "fdinfo/" + std::to_string(open.number)));
    descriptor.mode = static_cast<std::uint32_t>(number(value_of(info, "clockid").value_or("0")));
    descriptor.ticks = number(value_of(info, "ticks").value_or("0"));
    // One that fires once is either running or has fired. Between the two looks it may have been both; and one that is
    // neither may be about to fire, or be at rest.
    const bool repeats = left.it_interval.tv_sec != 0 || left.it_interval.tv_nsec != 0;
    const bool runs = left.it_value.tv_sec != 0 || left.it_value.tv_nsec != 0;
    if (repeats || runs != (descriptor.ticks > 0)) break;
    ::usleep(kTimerPauseUs);
  }
  static_assert(sizeof(left) == sizeof(descriptor.timer));
  std::memcpy(descriptor.timer.data(), &left, sizeof(left));
  return {};
}

Status read_anonymous(pid_t pid, const Open& open, Descriptor& descriptor) {
  if (open.link == "anon_inode:[eventfd]") {
    descriptor.kind = DescriptorKind::eventfd;
    descriptor.count = field(open, "eventfd-count", 16);
    descriptor.mode = static_cast<std::uint32_t>(field(open, "eventfd-semaphore"));
    return {};
  }
  if (open.link == "anon_inode:[timerfd]") return read_timer(pid, open, descriptor);
  if (open.link == "anon_inode:[signalfd]") {
    descriptor.kind = DescriptorKind::signalfd;
    descriptor.count = field(open, "sigmask", 16);
    return {};
  }
  if (open.link == "anon_inode:[eventpoll]") return read_epoll(pid, open, descriptor);
  if (open.link == "anon_inode:inotify") return read_inotify(pid, open, descriptor);
  if (open.link == "anon_inode:[io_uring]")
    return refuse(open, "an io_uring instance: disable it or close it in the before-snapshot hook");
  return refuse(open, open.link + ", which cannot be frozen: close it in the before-snapshot hook");
}

Status read_one(pid_t pid, const Open& open, const FreezeRequest& request, Objects& objects, SocketReader& sockets,
                Descriptor& descriptor) {
  descriptor.status_flags =
      static_cast<std::uint32_t>(field(open, "flags", 8)) & ~static_cast<std::uint32_t>(O_CLOEXEC);
  if ((descriptor.status_flags & O_ASYNC) != 0)
    return refuse(open, "a descriptor with signals of its own (O_ASYNC): switch them off before the snapshot");
  switch (open.status.st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
      return read_file(pid, open, request, objects, descriptor);
    case S_IFCHR:
      return read_device(open, descriptor);
    case S_IFIFO:
      return read_pipe(open, request, descriptor);
    case S_IFSOCK:
      return sockets.read(open, descriptor);
    default:
      return read_anonymous(pid, open, descriptor);
  }
}

bool same_description(pid_t pid, std::uint32_t a, std::uint32_t b) {
  return ::syscall(SYS_kcmp, pid, pid, KCMP_FILE, a, b) == 0;
}

// Only the end that writes says that it is a pipe of packets, whose borders no copy keeps.
Status check_packets(const Image& image) {
  std::set<std::uint64_t> filled;
  for (const Descriptor& descriptor : image.descriptors) {
    if (descriptor.kind == DescriptorKind::pipe && !descriptor.queued.empty()) filled.insert(descriptor.pair);
  }
  for (const Descriptor& descriptor : image.descriptors) {
    const bool of_packets = descriptor.kind == DescriptorKind::pipe && (descriptor.status_flags & O_DIRECT) != 0;
    if (!of_packets || !filled.contains(descriptor.pair)) continue;
    return Error{ErrorKind::unsupported, "descriptor " + std::to_string(descriptor.numbers.front()) +
                                             " is a pipe of packets (O_DIRECT) in which some wait: read them before "
                                             "the snapshot"};
  }
  return {};
}

}  // namespace

Status read_descriptors(Tracee& tracee, const FreezeRequest& request, Objects& objects, Image& image) {
  ASSIGN_OR_RETURN(const std::vector<Open> opens, list(tracee));
  SocketReader sockets(request);
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
    RETURN_IF_ERROR(read_one(tracee.pid(), open, request, objects, sockets, descriptor));
    seen.emplace(file, image.descriptors.size());
    image.descriptors.push_back(std::move(descriptor));
  }
  RETURN_IF_ERROR(check_packets(image));
  return SocketReader::check_pairs(image);
}

}  // namespace thaw::snapshot
