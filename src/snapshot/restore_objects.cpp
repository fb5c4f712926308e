// The objects of an image: memfds, shared memory, files without a name.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/sys.h"
#include "snapshot/image_memory.h"
#include "snapshot/restore_parts.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

namespace thaw::snapshot {
namespace {

constexpr std::size_t kMemfdNameBytesMax = 249;  // memfd_create(2)

// The private folder that a path lay in, or the first one. A file of another place had to be somewhere, too.
std::string folder_for(const RestoreContext& context, const std::string& path) {
  for (const std::string& folder : context.private_folders) {
    if (is_private({folder}, path)) return folder;
  }
  return context.private_folders.empty() ? "/tmp" : context.private_folders.front();
}

int create(const RestoreContext& context, const Object& object) {
  if (object.kind == ObjectKind::unlinked)
    return ::open(folder_for(context, object.name).c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
  // Anonymous shared memory is a file of the same kind inside the kernel; as a memfd it differs by its name in
  // /proc/PID/maps only.
  const std::string name =
      object.kind == ObjectKind::memfd ? object.name.substr(0, kMemfdNameBytesMax) : "shared memory";
  const int memory = ::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (memory >= 0 || errno != EINVAL) return memory;
  return ::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);  // a kernel before 6.3
}

}  // namespace

Status fill_object(const RestoreContext& context, const Object& object, int file) {
  if (object.size_bytes > 0 && ::ftruncate(file, static_cast<off_t>(object.size_bytes)) != 0)
    return sys::errno_error("the size of a file");
  for (const PageRun& run : object.runs) {
    auto from = static_cast<off_t>(kImageBase + run.offset);
    std::uint64_t left = std::min(run.end, object.size_bytes) - run.start;
    if (::lseek(file, static_cast<off_t>(run.start), SEEK_SET) < 0) return sys::errno_error("lseek");
    while (left > 0) {
      const ssize_t count = ::sendfile(file, context.image_file, &from, left);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return sys::errno_error("the contents of a file");
      if (count == 0) return Error{ErrorKind::corrupt, "snapshot: the file is cut off"};
      left -= static_cast<std::uint64_t>(count);
    }
  }
  return {};
}

Result<std::vector<int>> restore_objects(const RestoreContext& context) {
  std::vector<int> files;
  for (const Object& object : context.image.objects) {
    files.push_back(-1);
    if (object.kind == ObjectKind::named) continue;
    ASSIGN_OR_RETURN(UniqueFd file, move_above(create(context, object), context.first_free));
    RETURN_IF_ERROR(fill_object(context, object, file.get()));
    if (context.user != 0 && ::fchown(file.get(), context.user, context.user) != 0) return sys::errno_error("fchown");
    if (::fchmod(file.get(), object.mode) != 0) return sys::errno_error("fchmod");
    if (object.kind == ObjectKind::memfd && object.seals != 0 &&
        ::fcntl(file.get(), F_ADD_SEALS, static_cast<int>(object.seals)) != 0) {
      return sys::errno_error("seal a memfd");
    }
    files.back() = std::move(file).release();
  }
  return files;
}

}  // namespace thaw::snapshot
