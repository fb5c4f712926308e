// System calls: CLOEXEC always, EINTR retried, the path in the message, owned descriptors out.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::sys {

// An Error from errno: "WHAT: No such file or directory". ENOENT becomes not_found, EEXIST conflict, ENOSPC and
// ENOMEM unavailable, all else internal.
Error errno_error(std::string_view what);
Error errno_error(std::string_view what, int error_number);

Result<UniqueFd> open(const std::string& path, int flags, mode_t mode = 0);
Result<UniqueFd> openat(const UniqueFd& dir, const std::string& path, int flags, mode_t mode = 0);
Result<UniqueFd> duplicate(const UniqueFd& fd);
struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
// flags: of pipe2(2); O_CLOEXEC is added.
Result<Pipe> pipe(int flags = 0);

Status write_all(const UniqueFd& fd, std::string_view bytes);
Status pwrite_all(const UniqueFd& fd, std::string_view bytes, off_t offset);
// Number of bytes read; 0 at the end of the file.
Result<std::size_t> read_some(const UniqueFd& fd, std::span<char> into);
// The whole file, or too_large when it holds more than size_max bytes.
Result<std::string> read_file(const std::string& path, std::size_t size_max);
Result<std::string> read_fd(const UniqueFd& fd, std::size_t size_max, std::string_view name);

// The file is replaced whole or not at all: written beside, fsynced, renamed, folder fsynced.
Status write_file_atomically(const std::string& path, std::string_view bytes, mode_t mode = 0644);
// mkdir -p.
Status make_directories(const std::string& path, mode_t mode = 0755);
// rm -rf; a path that does not exist is fine. Never follows links.
Status remove_tree(const std::string& path);

}  // namespace thaw::sys
