#include "sandbox/spawner_lock.h"

#include <fcntl.h>

#include <cerrno>
#include <string>
#include <thread>

#include "base/sys.h"
#include "sandbox/spawner_options.h"

namespace thaw::sandbox {
namespace {

// One file for all names: each has a byte of it. Nobody but root can open it.
constexpr const char* kLockFile = "/run/thaw-spawners.lock";
constexpr std::chrono::milliseconds kLookEvery{5};

}  // namespace

Result<UniqueFd> lock_spawner(std::string_view cgroup_name, std::chrono::milliseconds wait_max) {
  ASSIGN_OR_RETURN(UniqueFd file, sys::open(kLockFile, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct flock place {};
  place.l_type = F_WRLCK;
  place.l_whence = SEEK_SET;
  place.l_start = static_cast<off_t>(hash_of(cgroup_name) >> 2);
  place.l_len = 1;
  const auto until = std::chrono::steady_clock::now() + wait_max;
  while (::fcntl(file.get(), F_SETLK, &place) != 0) {
    if (errno != EAGAIN && errno != EACCES) return sys::errno_error(kLockFile);
    if (std::chrono::steady_clock::now() >= until) {
      return Error{ErrorKind::unavailable, "an earlier spawner of " + std::string(cgroup_name) +
                                               " is still ending its environments: try again a little later"};
    }
    std::this_thread::sleep_for(kLookEvery);
  }
  return file;
}

}  // namespace thaw::sandbox
