#include "base/regular_file.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/sys.h"

namespace thaw {
namespace {

std::string this_user() {
  const uid_t uid = ::geteuid();
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  const std::string number = "uid " + std::to_string(uid);
  if (::getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) != 0 || found == nullptr) return number;
  return std::string(found->pw_name) + " (" + number + ")";
}

}  // namespace

Result<UniqueFd> open_regular_file(const std::string& path) {
  // Without O_NONBLOCK the opening of a pipe waits for its writer.
  Result<UniqueFd> opened = sys::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!opened.ok() && ::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0 && errno == EACCES)
    return invalid_argument(path + ": Permission denied: it is read as the user " + this_user() +
                            ", who must be able to enter its folders and to read it");
  if (!opened.ok()) return std::move(opened).error();
  struct stat status {};
  if (::fstat(opened->get(), &status) != 0) return sys::errno_error(path);
  if (!S_ISREG(status.st_mode)) return invalid_argument(path + ": not a regular file");
  return opened;
}

}  // namespace thaw
