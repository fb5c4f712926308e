#include "base/sys.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace thaw {

void UniqueFd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

namespace sys {
namespace {

template <class Call>
auto retried(Call call) {
  for (;;) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

std::string fd_name(const UniqueFd& fd) { return "descriptor " + std::to_string(fd.get()); }

}  // namespace

Error errno_error(std::string_view what) { return errno_error(what, errno); }

Error errno_error(std::string_view what, int error_number) {
  ErrorKind kind = ErrorKind::internal;
  if (error_number == ENOENT) kind = ErrorKind::not_found;
  if (error_number == EEXIST) kind = ErrorKind::conflict;
  if (error_number == ENOSPC || error_number == ENOMEM || error_number == EDQUOT) kind = ErrorKind::unavailable;
  return {kind, std::string(what) + ": " + std::generic_category().message(error_number)};
}

Result<UniqueFd> open(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(retried([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); }));
  if (!fd.valid()) return errno_error(path);
  return fd;
}

Result<UniqueFd> openat(const UniqueFd& dir, const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(retried([&] { return ::openat(dir.get(), path.c_str(), flags | O_CLOEXEC, mode); }));
  if (!fd.valid()) return errno_error(path);
  return fd;
}

Result<UniqueFd> duplicate(const UniqueFd& fd) {
  UniqueFd copy(retried([&] { return ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3); }));
  if (!copy.valid()) return errno_error("duplicate " + fd_name(fd));
  return copy;
}

Result<Pipe> pipe(int flags) {
  int ends[2];
  if (::pipe2(ends, flags | O_CLOEXEC) != 0) return errno_error("pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Status write_all(const UniqueFd& fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = retried([&] { return ::write(fd.get(), bytes.data(), bytes.size()); });
    if (written < 0) return errno_error("write to " + fd_name(fd));
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Status pwrite_all(const UniqueFd& fd, std::string_view bytes, off_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = retried([&] { return ::pwrite(fd.get(), bytes.data(), bytes.size(), offset); });
    if (written < 0) return errno_error("write to " + fd_name(fd));
    // /proc/PID/mem of a process that has ended takes nothing, and says no more.
    if (written == 0) return errno_error("write to " + fd_name(fd), EIO);
    bytes.remove_prefix(static_cast<std::size_t>(written));
    offset += written;
  }
  return {};
}

Result<std::size_t> read_some(const UniqueFd& fd, std::span<char> into) {
  const ssize_t count = retried([&] { return ::read(fd.get(), into.data(), into.size()); });
  if (count < 0) return errno_error("read from " + fd_name(fd));
  return static_cast<std::size_t>(count);
}

Result<std::string> read_fd(const UniqueFd& fd, std::size_t size_max, std::string_view name) {
  std::string bytes;
  char chunk[16384];
  for (;;) {
    const ssize_t count = retried([&] { return ::read(fd.get(), chunk, sizeof(chunk)); });
    if (count < 0) return errno_error(name);
    if (count == 0) return bytes;
    if (bytes.size() + static_cast<std::size_t>(count) > size_max) {
      return Error{ErrorKind::too_large, std::string(name) + " is larger than " + std::to_string(size_max) + " bytes"};
    }
    bytes.append(chunk, static_cast<std::size_t>(count));
  }
}

Result<std::string> read_file(const std::string& path, std::size_t size_max) {
  ASSIGN_OR_RETURN(const UniqueFd fd, open(path, O_RDONLY));
  return read_fd(fd, size_max, path);
}

Status write_file_atomically(const std::string& path, std::string_view bytes, mode_t mode) {
  const std::filesystem::path target(path);
  const std::string folder = target.has_parent_path() ? target.parent_path().string() : ".";
  const std::string beside = path + ".tmp";
  {
    ASSIGN_OR_RETURN(const UniqueFd fd, open(beside, O_WRONLY | O_CREAT | O_TRUNC, mode));
    RETURN_IF_ERROR(write_all(fd, bytes));
    if (::fsync(fd.get()) != 0) return errno_error(beside);
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) return errno_error(path);
  ASSIGN_OR_RETURN(const UniqueFd dir, open(folder, O_RDONLY | O_DIRECTORY));
  if (::fsync(dir.get()) != 0) return errno_error(folder);
  return {};
}

Status make_directories(const std::string& path, mode_t mode) {
  std::string so_far;
  for (const auto& part : std::filesystem::path(path)) {
    so_far = so_far.empty() ? part.string() : (std::filesystem::path(so_far) / part).string();
    if (so_far.empty() || so_far == "/") continue;
    if (::mkdir(so_far.c_str(), mode) != 0 && errno != EEXIST) return errno_error(so_far);
  }
  return {};
}

Status remove_tree(const std::string& path) {
  std::error_code code;
  std::filesystem::remove_all(path, code);
  if (code) return errno_error(path, code.value());
  return {};
}

}  // namespace sys
}  // namespace thaw
