#include "control/zip_end.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "base/sys.h"

namespace thaw::control {
namespace {

// "APPNOTE.TXT - .ZIP File Format Specification", PKWARE, 4.3.14 to 4.3.16.
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kCommentBytesMax = 65535;
constexpr std::size_t kLocator64Bytes = 20;
constexpr std::size_t kEnd64Bytes = 56;
constexpr std::string_view kEndMark("PK\x05\x06", 4);
constexpr std::string_view kLocator64Mark("PK\x06\x07", 4);
constexpr std::string_view kEnd64Mark("PK\x06\x06", 4);
// An entry of the directory: its fixed part, a name, and room for extra fields.
constexpr std::uint64_t kDirectoryEntryBytes = 46 + 512;

std::uint64_t little_endian(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i > 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[at + i - 1]);
  return value;
}

// Fewer bytes than asked at the end of the file.
Result<std::string> read_at(const UniqueFd& fd, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t got = ::pread(fd.get(), bytes.data() + have, size - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sys::errno_error("the upload");
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace

Status check_zip_end(const UniqueFd& zip_fd, const IntakeLimits& limits) {
  struct stat info {};
  if (::fstat(zip_fd.get(), &info) != 0) return sys::errno_error("the upload");
  const auto size = static_cast<std::uint64_t>(info.st_size);
  const std::uint64_t tail_bytes = std::min<std::uint64_t>(size, kEndBytes + kCommentBytesMax + kLocator64Bytes);
  ASSIGN_OR_RETURN(const std::string tail, read_at(zip_fd, size - tail_bytes, tail_bytes));
  const std::size_t end = tail.rfind(kEndMark);
  if (end == std::string::npos || tail.size() - end < kEndBytes) {
    return invalid_argument("the zip is cut short or damaged: its central directory is not there");
  }
  std::uint64_t entries = little_endian(tail, end + 10, 2);
  std::uint64_t directory_bytes = little_endian(tail, end + 12, 4);
  const bool has_locator =
      end >= kLocator64Bytes && std::string_view(tail).substr(end - kLocator64Bytes, 4) == kLocator64Mark;
  if (has_locator) {
    const std::uint64_t at = little_endian(tail, end - kLocator64Bytes + 8, 8);
    if (at > size) return invalid_argument("the zip is damaged: its end record lies outside");
    ASSIGN_OR_RETURN(const std::string record, read_at(zip_fd, at, kEnd64Bytes));
    if (record.size() < kEnd64Bytes || !record.starts_with(kEnd64Mark)) {
      return invalid_argument("the zip is damaged: its end record is not where it should be");
    }
    entries = little_endian(record, 32, 8);
    directory_bytes = little_endian(record, 40, 8);
  }
  if (entries > limits.entries_max ||
      directory_bytes > limits.entries_max * kDirectoryEntryBytes + kDirectoryEntryBytes * 16) {
    return Error{ErrorKind::too_large, "the zip has more than " + std::to_string(limits.entries_max) + " entries"};
  }
  return {};
}

}  // namespace thaw::control
