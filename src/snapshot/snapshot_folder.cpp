#include "snapshot/snapshot_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "base/sys.h"

namespace thaw::snapshot {
namespace {

constexpr std::size_t kStateBytesMax = 1 << 16;

}  // namespace

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
  const std::string beside = name + ".new";
  ::unlinkat(folder_.get(), beside.c_str(), 0);  // of a daemon that was killed between the next two calls
  if (::linkat(AT_FDCWD, link.c_str(), folder_.get(), beside.c_str(), AT_SYMLINK_FOLLOW) != 0)
    return sys::errno_error("keep a snapshot");
  if (::renameat(folder_.get(), beside.c_str(), folder_.get(), name.c_str()) != 0 || ::fsync(folder_.get()) != 0) {
    const Error error = sys::errno_error("keep a snapshot");
    ::unlinkat(folder_.get(), beside.c_str(), 0);
    return error;
  }
  return {};
}

void SnapshotFolder::remove(const std::string& revision_id) const {
  ::unlinkat(folder_.get(), name_of(revision_id).c_str(), 0);
}

Status SnapshotFolder::save_state(const std::string& revision_id, std::string_view json) const {
  Status saved = sys::write_file_atomically(state_path(revision_id), json, 0600);
  if (!saved.ok()) ::unlink((state_path(revision_id) + ".tmp").c_str());
  return saved;
}

Result<std::string> SnapshotFolder::load_state(const std::string& revision_id) const {
  return sys::read_file(state_path(revision_id), kStateBytesMax);
}

void SnapshotFolder::forget(const std::string& revision_id) const {
  remove(revision_id);
  ::unlink(state_path(revision_id).c_str());
}

std::vector<StoredImage> SnapshotFolder::images() const {
  std::vector<StoredImage> images;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    struct stat info;
    if (entry.path().extension() != ".img" || ::lstat(entry.path().c_str(), &info) != 0) continue;
    images.push_back({.revision_id = entry.path().stem().string(),
                      .disk_bytes = static_cast<std::uint64_t>(info.st_blocks) * 512,
                      .used_at = std::chrono::system_clock::from_time_t(info.st_atime)});
  }
  return images;
}

void SnapshotFolder::mark_used(const UniqueFd& image) {
  // Set, because file systems are commonly mounted so that reading does not.
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_NOW}, {.tv_sec = 0, .tv_nsec = UTIME_OMIT}};
  ::futimens(image.get(), times);
}

std::uint64_t SnapshotFolder::disk_bytes(const UniqueFd& image) {
  struct stat info;
  return ::fstat(image.get(), &info) == 0 ? static_cast<std::uint64_t>(info.st_blocks) * 512 : 0;
}

void SnapshotFolder::keep_only(const std::set<std::string>& revision_ids) const {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    if (!revision_ids.contains(entry.path().stem().string()))
      ::unlinkat(folder_.get(), entry.path().filename().c_str(), 0);
  }
}

}  // namespace thaw::snapshot
