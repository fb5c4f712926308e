#include "serve_privileges.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <filesystem>

#include "base/sys.h"

namespace thaw::cli {
namespace {

// Where a data folder below somebody's 0700 folder (a clone in /root) appears in the daemon's own mount namespace.
constexpr const char* kDataMount = "/mnt";

bool may_pass(const std::string& folder, const ServeConfig& config) {
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) return false;
  if (info.st_uid == config.user_id) return (info.st_mode & S_IXUSR) != 0;
  if (info.st_gid == config.group_id) return (info.st_mode & S_IXGRP) != 0;
  return (info.st_mode & S_IXOTH) != 0;
}

bool reachable(const std::string& folder, const ServeConfig& config) {
  for (std::filesystem::path path = folder; path != path.parent_path(); path = path.parent_path()) {
    if (!may_pass(path.string(), config)) return false;
  }
  return true;
}

constexpr const char* kLockFile = "/serve.lock";

// Everything in the folder is about to change hands: it must be Thaw's, not somebody's home that was named by mistake.
Status check_is_data_folder(const std::string& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder + kLockFile, error) || std::filesystem::exists(folder + "/catalog.db", error))
    return {};
  bool empty = true;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    empty = empty && entry.path().filename() == "lost+found";  // what a disk of its own begins with
  }
  if (empty) return {};
  return Error{ErrorKind::conflict,
               folder + " is not empty and is no data folder of Thaw: give --data a new or empty folder"};
}

Status give_away(const std::string& folder, const ServeConfig& config) {
  struct stat info {};
  if (::lstat(folder.c_str(), &info) != 0) return sys::errno_error(folder);
  if (info.st_uid == config.user_id && info.st_gid == config.group_id) return {};
  std::error_code error;
  for (auto it = std::filesystem::recursive_directory_iterator(folder, error); !error && it != std::filesystem::end(it);
       it.increment(error)) {
    if (::lchown(it->path().c_str(), config.user_id, config.group_id) != 0)
      return sys::errno_error(it->path().string());
  }
  if (error) return sys::errno_error(folder, error.value());
  // The folder itself last: a crash in between is found by its owner and made good by the next start.
  if (::lchown(folder.c_str(), config.user_id, config.group_id) != 0) return sys::errno_error(folder);
  return {};
}

bool is_mounted_memory(const std::string& folder) {
  struct statfs system {};
  struct stat here {};
  struct stat above {};
  return ::statfs(folder.c_str(), &system) == 0 && system.f_type == TMPFS_MAGIC && ::stat(folder.c_str(), &here) == 0 &&
         ::stat((folder + "/..").c_str(), &above) == 0 && here.st_dev != above.st_dev;
}

// Models lie in memory that outlives the daemon: a tmpfs in the machine's own mount namespace, which a later daemon
// finds there. Huge pages where a file fills them; kernels without them for tmpfs refuse the option.
Status mount_memory(const ServeConfig& config) {
  const std::string folder = config.data + kMemoryFolder;
  RETURN_IF_ERROR(sys::make_directories(folder, 0700));
  const std::string size = "size=" + std::to_string(config.memory_max_mb) + "m";
  if (is_mounted_memory(folder)) {
    // Less than what lies there already is refused; the budget of the models is the tighter bound.
    (void)::mount(nullptr, folder.c_str(), nullptr, MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, size.c_str());
    return {};
  }
  const std::string options =
      "mode=0700,uid=" + std::to_string(config.user_id) + ",gid=" + std::to_string(config.group_id) + "," + size;
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (::mount("thaw", folder.c_str(), "tmpfs", kFlags, (options + ",huge=within_size").c_str()) == 0) return {};
  if (::mount("thaw", folder.c_str(), "tmpfs", kFlags, options.c_str()) == 0) return {};
  return sys::errno_error("mount a tmpfs for models at " + folder);
}

// Images in memory go with the daemon, and so does this tmpfs, in its own mount namespace. They are sparse: huge pages
// are for the parts that ask (madvise). Clones map code from them that a JIT has made. Without it they are memfds.
void mount_image_memory(const std::string& folder, const ServeConfig& config) {
  if (!sys::make_directories(folder, 0700).ok()) return;
  const std::string options = "mode=0700,huge=advise,uid=" + std::to_string(config.user_id) +
                              ",gid=" + std::to_string(config.group_id) +
                              ",size=" + std::to_string(config.memory_max_mb) + "m";
  (void)::mount("thaw", folder.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str());
}

}  // namespace

Result<UniqueFd> lock_data(const ServeConfig& config) {
  RETURN_IF_ERROR(sys::make_directories(config.data, 0755));
  RETURN_IF_ERROR(check_is_data_folder(config.data));
  ASSIGN_OR_RETURN(UniqueFd lock, sys::open(config.data + kLockFile, O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error{ErrorKind::conflict,
                 "another `thaw serve` runs on " + config.data + ": stop it, or give --data another folder"};
  }
  return lock;
}

Result<std::string> enter_data(const ServeConfig& config) {
  RETURN_IF_ERROR(mount_memory(config));
  RETURN_IF_ERROR(give_away(config.data, config));
  if (::unshare(CLONE_NEWNS) != 0) return sys::errno_error("a mount namespace for the daemon");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return sys::errno_error("mount /");
  std::string folder = config.data;
  if (!reachable(config.data, config)) {
    if (::mount(config.data.c_str(), kDataMount, nullptr, MS_BIND | MS_REC, nullptr) != 0)
      return sys::errno_error(kDataMount);
    folder = kDataMount;
  }
  mount_image_memory(folder + kImageMemoryFolder, config);
  return folder;
}

Status drop_privileges(const ServeConfig& config) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return sys::errno_error("no_new_privs");
  if (::setgroups(0, nullptr) != 0) return sys::errno_error("setgroups");
  if (::setresgid(config.group_id, config.group_id, config.group_id) != 0) return sys::errno_error("setresgid");
  if (::setresuid(config.user_id, config.user_id, config.user_id) != 0) return sys::errno_error("setresuid");
  if (::geteuid() == 0 || ::setuid(0) == 0) return internal_error("root could not be given up");
  return {};
}

}  // namespace thaw::cli
