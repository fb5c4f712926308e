// Watches of inotify, and locks.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/sys.h"
#include "snapshot/proc_files.h"
#include "snapshot/restore_parts.h"

#ifndef INOTIFY_IOC_SETNEXTWD
#define INOTIFY_IOC_SETNEXTWD _IOW('I', 0, std::int32_t)
#endif

namespace thaw::snapshot {

Status restore_watches(const RestoreContext& context) {
  for (const Descriptor& descriptor : context.image.descriptors) {
    for (const Watch& watch : descriptor.watches) {
      const auto instance = static_cast<int>(descriptor.numbers.front());
      if (!is_private(context.private_folders, watch.path)) {
        const auto found = identify(watch.path);
        if (!found.ok() || found->device != watch.file.device || found->inode != watch.file.inode)
          return Error{ErrorKind::unsupported, "snapshot: " + watch.path + " is another file now"};
      }
      if (::ioctl(instance, INOTIFY_IOC_SETNEXTWD, watch.number) != 0) return sys::errno_error("number a watch");
      if (::inotify_add_watch(instance, watch.path.c_str(), watch.mask | IN_DONT_FOLLOW) != watch.number)
        return sys::errno_error("watch " + watch.path);
    }
  }
  return {};
}

Status restore_locks(const Descriptor& descriptor) {
  const auto file = static_cast<int>(descriptor.numbers.front());
  for (const FileLock& lock : descriptor.locks) {
    if (lock.kind == 0) {
      if (::flock(file, (lock.exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) return sys::errno_error("lock a file");
    } else if (lock.kind == 2) {
      struct flock range {};
      range.l_type = lock.exclusive ? F_WRLCK : F_RDLCK;
      range.l_whence = SEEK_SET;
      range.l_start = static_cast<off_t>(lock.start);
      range.l_len = static_cast<off_t>(lock.length);
      if (::fcntl(file, F_OFD_SETLK, &range) != 0) return sys::errno_error("lock a file");
    }
  }
  return {};
}

}  // namespace thaw::snapshot
