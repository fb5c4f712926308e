// What a held process watches and locks: epoll, inotify, locks of files.
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>
#include <system_error>
#include <vector>

#include "base/sys.h"
#include "snapshot/open_descriptor.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint32_t kWatchMask = IN_ALL_EVENTS | IN_UNMOUNT | IN_EXCL_UNLINK | IN_ONESHOT;
constexpr std::size_t kHandleBytesMax = 128;  // MAX_HANDLE_SZ
constexpr std::size_t kSearchMax = 200'000;   // entries of folders, for one watch

// A file system where the process sees it.
struct Mounted {
  std::uint64_t device = 0;
  std::string place;
};

// /proc/PID/mountinfo (proc(5)): "36 35 98:0 / /mnt rw ...".
Result<std::vector<Mounted>> mounts_of(pid_t pid) {
  ASSIGN_OR_RETURN(const std::string text, read_proc(pid, "mountinfo"));
  std::vector<Mounted> mounts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    unsigned first = 0;
    unsigned second = 0;
    char place[4096] = {};
    if (std::sscanf(line.c_str(), "%*u %*u %u:%u %*s %4095s", &first, &second, place) == 3)
      mounts.push_back({std::uint64_t{first} << 20 | second, place});
  }
  return mounts;
}

struct Watched {
  int number = 0;
  unsigned long long inode = 0;
  unsigned long long device = 0;  // as the kernel has it: twenty bits of minor number
  unsigned mask = 0;
  unsigned handle_type = 0;
  std::vector<unsigned char> handle;
};

// "inotify wd:1 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000..."
bool parse_watch(const std::string& line, Watched& watched) {
  unsigned bytes = 0;
  int at = 0;
  if (std::sscanf(
          line.c_str(),
          "inotify wd:%x ino:%llx sdev:%llx mask:%x ignored_mask:%*x fhandle-bytes:%x fhandle-type:%x f_handle:%n",
          reinterpret_cast<unsigned*>(&watched.number), &watched.inode, &watched.device, &watched.mask, &bytes,
          &watched.handle_type, &at) < 4) {
    return false;
  }
  for (unsigned i = 0; at > 0 && i < std::min<unsigned>(bytes, kHandleBytesMax); ++i) {
    unsigned byte = 0;
    if (std::sscanf(line.c_str() + at + 2 * i, "%2x", &byte) != 1) break;
    watched.handle.push_back(static_cast<unsigned char>(byte));
  }
  return true;
}

class WatchFinder {
 public:
  WatchFinder(pid_t pid, std::vector<Mounted> mounts) : root_(proc_path(pid, "root")), mounts_(std::move(mounts)) {}

  // The path of the file in the process's root; empty when it is not found.
  std::string find(const Watched& watched) {
    for (const Mounted& mount : mounts_) {
      if (mount.device != watched.device) continue;
      if (const std::string path = by_handle(mount, watched); !path.empty()) return path;
    }
    for (const Mounted& mount : mounts_) {
      if (mount.device != watched.device) continue;
      if (const std::string path = by_search(mount, watched); !path.empty()) return path;
    }
    return {};
  }

 private:
  bool is(const std::string& path, const Watched& watched) const {
    struct stat status {};
    return ::lstat((root_ + path).c_str(), &status) == 0 && status.st_ino == watched.inode;
  }

  std::string by_handle(const Mounted& mount, const Watched& watched) const {
    if (watched.handle.empty()) return {};
    const auto at = sys::open(root_ + mount.place, O_RDONLY | O_NONBLOCK);
    if (!at.ok()) return {};
    alignas(file_handle) char storage[sizeof(file_handle) + kHandleBytesMax] = {};
    auto* const handle = reinterpret_cast<file_handle*>(storage);
    handle->handle_bytes = static_cast<unsigned>(watched.handle.size());
    handle->handle_type = static_cast<int>(watched.handle_type);
    std::memcpy(storage + offsetof(file_handle, f_handle), watched.handle.data(), watched.handle.size());
    const UniqueFd file(::open_by_handle_at(at->get(), handle, O_PATH | O_CLOEXEC));
    if (!file.valid()) return {};
    const auto path = read_link("/proc/self/fd/" + std::to_string(file.get()));
    // The mount may show another part of its file system.
    return path.ok() && is(*path, watched) ? *path : std::string();
  }

  std::string by_search(const Mounted& mount, const Watched& watched) const {
    if (is(mount.place, watched)) return mount.place;
    struct stat top {};
    if (::stat((root_ + mount.place).c_str(), &top) != 0) return {};
    std::error_code error;
    std::size_t seen = 0;
    using Folder = std::filesystem::recursive_directory_iterator;
    Folder entries(root_ + mount.place, std::filesystem::directory_options::skip_permission_denied, error);
    for (; !error && entries != Folder() && ++seen < kSearchMax; entries.increment(error)) {
      struct stat status {};
      if (::lstat(entries->path().c_str(), &status) != 0) continue;
      if (status.st_dev != top.st_dev) {
        entries.disable_recursion_pending();
      } else if (status.st_ino == watched.inode) {
        return entries->path().string().substr(root_.size());
      }
    }
    return {};
  }

  const std::string root_;
  const std::vector<Mounted> mounts_;
};

}  // namespace

Status read_epoll(pid_t pid, const Open& open, Descriptor& descriptor) {
  descriptor.kind = DescriptorKind::epoll;
  std::map<unsigned long long, std::uint32_t> seen;  // entries of one number so far
  std::istringstream lines(open.info);
  for (std::string line; std::getline(lines, line);) {
    unsigned long long target = 0;
    unsigned long long events = 0;
    unsigned long long data = 0;
    if (std::sscanf(line.c_str(), "tfd: %llu events: %llx data: %llx", &target, &events, &data) != 3) continue;
    // Another file may bear the number by now: what is watched lives on under another number.
    kcmp_epoll_slot slot{.efd = open.number, .tfd = static_cast<std::uint32_t>(target), .toff = seen[target]++};
    if (::syscall(SYS_kcmp, pid, pid, KCMP_EPOLL_TFD, target, &slot) != 0) {
      return refuse(open, "an epoll that watches what was descriptor " + std::to_string(target) +
                              " and is no longer: remove it (EPOLL_CTL_DEL) before it is closed");
    }
    descriptor.watched.push_back({static_cast<std::uint32_t>(target), static_cast<std::uint32_t>(events), data});
  }
  return {};
}

Status read_inotify(pid_t pid, const Open& open, Descriptor& descriptor) {
  descriptor.kind = DescriptorKind::inotify;
  int waiting = 0;
  if (::ioctl(open.copy.get(), FIONREAD, &waiting) != 0) return sys::errno_error("FIONREAD");
  if (waiting > 0) return refuse(open, "an inotify instance with events that nobody has read: read them first");
  ASSIGN_OR_RETURN(std::vector<Mounted> mounts, mounts_of(pid));
  WatchFinder finder(pid, std::move(mounts));
  std::istringstream lines(open.info);
  for (std::string line; std::getline(lines, line);) {
    Watched watched;
    if (!parse_watch(line, watched)) continue;
    if (descriptor.watches.size() == kWatchesMax) return refuse(open, "an inotify instance with too many watches");
    Watch watch{.number = watched.number, .mask = watched.mask & kWatchMask, .path = finder.find(watched), .file = {}};
    if (watch.path.empty()) {
      return refuse(open, "an inotify instance whose watch " + std::to_string(watch.number) +
                              " is on a file that cannot be found: remove the watch before the snapshot");
    }
    ASSIGN_OR_RETURN(watch.file, identify(proc_path(pid, "root") + watch.path));
    descriptor.watches.push_back(std::move(watch));
  }
  std::sort(descriptor.watches.begin(), descriptor.watches.end(),
            [](const Watch& a, const Watch& b) { return a.number < b.number; });
  return {};
}

// fdinfo: "lock:\t1: FLOCK  ADVISORY  WRITE 12 08:01:123 0 EOF" (proc(5)).
Status read_locks(const Open& open, Lockable lockable, Descriptor& descriptor) {
  std::istringstream lines(open.info);
  for (std::string line; std::getline(lines, line);) {
    char kind[16] = {};
    char mode[16] = {};
    unsigned long long start = 0;
    char end[32] = {};
    if (std::sscanf(line.c_str(), "lock: %*d: %15s %*s %15s %*d %*s %llu %31s", kind, mode, &start, end) != 4) continue;
    FileLock lock{.exclusive = std::strcmp(mode, "WRITE") == 0, .start = start};
    if (std::strcmp(end, "EOF") != 0) lock.length = number(end) - start + 1;
    if (std::strcmp(kind, "POSIX") == 0) {
      lock.kind = 1;
    } else if (std::strcmp(kind, "OFDLCK") == 0) {
      lock.kind = 2;
    } else if (std::strcmp(kind, "FLOCK") != 0) {
      return refuse(open, "a file with a lease (F_SETLEASE): give it up before the snapshot");
    }
    if (lock.exclusive && lockable == Lockable::shared_file)
      return refuse(open, "an exclusive lock on a file that all clones would share: give it up before the snapshot");
    descriptor.locks.push_back(lock);
  }
  return {};
}

}  // namespace thaw::snapshot
