#include "snapshot/snapshot_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "base/sys.h"

namespace thaw::snapshot {

Result<std::unique_ptr<SnapshotFolder>> SnapshotFolder::open(const std::string& path) {
  RETURN_IF_ERROR(sys::make_directories(path, 0700));
  ASSIGN_OR_RETURN(UniqueFd folder, sys::open(path, O_RDONLY | O_DIRECTORY));
  return std::unique_ptr<SnapshotFolder>(new SnapshotFolder(path, std::move(folder)));
}

Result<UniqueFd> SnapshotFolder::find(const std::string& revision_id) const {
  return sys::openat(folder_, name_of(revision_id), O_RDONLY);
}

Result<UniqueFd> SnapshotFolder::create() const { return sys::openat(folder_, ".", O_RDWR | O_TMPFILE, 0600); }

Status SnapshotFolder::publish(const UniqueFd& file, const std::string& revision_id) const {
  const std::string link = "/proc/self/fd/" + std::to_string(file.get());
  const std::string name = name_of(revision_id);
  if (::linkat(AT_FDCWD, link.c_str(), folder_.get(), name.c_str(), AT_SYMLINK_FOLLOW) != 0)
    return sys::errno_error("keep a snapshot");
  if (::fsync(folder_.get()) != 0) return sys::errno_error("keep a snapshot");
  return {};
}

void SnapshotFolder::remove(const std::string& revision_id) const {
  ::unlinkat(folder_.get(), name_of(revision_id).c_str(), 0);
}

void SnapshotFolder::keep_only(const std::set<std::string>& revision_ids) const {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    if (!revision_ids.contains(entry.path().stem().string()))
      ::unlinkat(folder_.get(), entry.path().filename().c_str(), 0);
  }
}

}  // namespace thaw::snapshot
