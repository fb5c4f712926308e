#include "observe/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/sys.h"

namespace thaw::observe {
namespace {

constexpr std::string_view kHeaderStart = "# thaw log from byte ";
constexpr std::size_t kDigits = 20;
constexpr std::size_t kHeaderBytes = kHeaderStart.size() + kDigits + 1;

std::string header(std::uint64_t position) {
  const std::string digits = std::to_string(position);
  return std::string(kHeaderStart) + std::string(kDigits - digits.size(), '0') + digits + "\n";
}

}  // namespace

LogFile::LogFile(const UniqueFd& folder, std::string name, std::uint64_t file_bytes_max)
    : folder_(folder), name_(std::move(name)), older_name_(name_ + ".1"), file_bytes_max_(file_bytes_max) {}

Result<LogFile::Segment> LogFile::look_at(const std::string& name) const {
  auto fd = sys::openat(folder_, name, O_RDONLY | O_NOFOLLOW);
  if (!fd && fd.error().kind == ErrorKind::not_found) return Segment{};
  if (!fd) return std::move(fd).error();
  struct stat info {};
  if (::fstat(fd->get(), &info) != 0) return sys::errno_error(name);
  char start[kHeaderBytes];
  const ssize_t got = ::pread(fd->get(), start, sizeof(start), 0);
  Segment segment{.exists = true};
  // A header that is cut short, or another program's file: begun anew.
  const std::string_view text(start, got < 0 ? 0 : static_cast<std::size_t>(got));
  if (text.size() < kHeaderBytes || !text.starts_with(kHeaderStart)) return Segment{};
  const char* digits = start + kHeaderStart.size();
  const auto parsed = std::from_chars(digits, digits + kDigits, segment.begin);
  if (parsed.ec != std::errc() || parsed.ptr != digits + kDigits || segment.begin > INT64_MAX) return Segment{};
  segment.end = segment.begin + static_cast<std::uint64_t>(info.st_size) - kHeaderBytes;
  char last = '\n';
  if (::pread(fd->get(), &last, 1, info.st_size - 1) == 1) segment.torn = last != '\n';
  return segment;
}

Status LogFile::look() {
  if (known_) return {};
  ASSIGN_OR_RETURN(newer_, look_at(name_));
  ASSIGN_OR_RETURN(older_, look_at(older_name_));
  if (newer_.exists && older_.exists && older_.end > newer_.begin) older_ = {};
  known_ = true;
  return {};
}

Result<std::uint64_t> LogFile::end() {
  RETURN_IF_ERROR(look());
  // A torn line gets its end with the next write.
  if (newer_.exists) return newer_.end + (newer_.torn ? 1 : 0);
  return older_.exists ? older_.end : 0;
}

Result<std::int64_t> LogFile::start_new(std::uint64_t position) {
  std::int64_t grown = 0;
  if (newer_.exists) {
    if (::renameat(folder_.get(), name_.c_str(), folder_.get(), older_name_.c_str()) != 0)
      return sys::errno_error(name_);
    if (older_.exists) grown -= static_cast<std::int64_t>(older_.end - older_.begin + kHeaderBytes);
    older_ = newer_;
    newer_ = {};
  }
  ASSIGN_OR_RETURN(const UniqueFd fd, sys::openat(folder_, name_, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0640));
  RETURN_IF_ERROR(sys::write_all(fd, header(position)));
  newer_ = {.exists = true, .begin = position, .end = position};
  return grown + static_cast<std::int64_t>(kHeaderBytes);
}

Result<std::int64_t> LogFile::append(std::uint64_t position, std::string_view lines) {
  RETURN_IF_ERROR(look());
  // Whatever fails on the way, the disk is looked at again before it is trusted again.
  known_ = false;
  std::int64_t grown = 0;
  std::string mended;
  if (newer_.exists && newer_.torn && newer_.end + 1 == position) {
    mended = "\n" + std::string(lines);
    lines = mended;
    position -= 1;
  }
  while (!lines.empty()) {
    const std::uint64_t used = newer_.exists ? newer_.end - newer_.begin : 0;
    const std::uint64_t room = used < file_bytes_max_ ? file_bytes_max_ - used : 0;
    std::string_view part = lines.substr(0, std::min<std::uint64_t>(room, lines.size()));
    const std::size_t last_end = part.rfind('\n');
    part = part.substr(0, last_end == std::string_view::npos ? 0 : last_end + 1);
    if (!newer_.exists || newer_.end != position || (part.empty() && used > 0)) {
      ASSIGN_OR_RETURN(const std::int64_t change, start_new(position));
      grown += change;
      continue;
    }
    // A single line that is longer than a file may be has a file for itself.
    if (part.empty())
      part = lines.substr(0, lines.find('\n') == std::string_view::npos ? lines.size() : lines.find('\n') + 1);
    ASSIGN_OR_RETURN(const UniqueFd fd, sys::openat(folder_, name_, O_WRONLY | O_APPEND | O_NOFOLLOW));
    RETURN_IF_ERROR(sys::write_all(fd, part));
    newer_.end += part.size();
    newer_.torn = false;
    position += part.size();
    grown += static_cast<std::int64_t>(part.size());
    lines.remove_prefix(part.size());
  }
  known_ = true;
  return grown;
}

Status LogFile::read_into(std::string& out, const std::string& name, const Segment& segment, std::uint64_t from,
                          std::size_t bytes_max) const {
  ASSIGN_OR_RETURN(const UniqueFd fd, sys::openat(folder_, name, O_RDONLY | O_NOFOLLOW));
  std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(bytes_max, segment.end - from));
  std::uint64_t at = from - segment.begin + kHeaderBytes;
  char chunk[16384];
  while (want > 0) {
    const ssize_t got = ::pread(fd.get(), chunk, std::min(want, sizeof(chunk)), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sys::errno_error(name);
    if (got == 0) break;
    out.append(chunk, static_cast<std::size_t>(got));
    at += static_cast<std::uint64_t>(got);
    want -= static_cast<std::size_t>(got);
  }
  return {};
}

Result<LogFile::Bytes> LogFile::read_from(std::uint64_t position, std::size_t bytes_max) {
  RETURN_IF_ERROR(look());
  Bytes bytes;
  if (older_.exists && position < older_.end) {
    bytes.begin = std::max(position, older_.begin);
    RETURN_IF_ERROR(read_into(bytes.text, older_name_, older_, bytes.begin, bytes_max));
    // Over a gap the caller comes again, with the position behind it.
    if (!newer_.exists || newer_.begin != older_.end) return bytes;
  }
  if (!newer_.exists || bytes.text.size() >= bytes_max) return bytes;
  const std::uint64_t from = std::max(position, newer_.begin);
  if (bytes.text.empty()) bytes.begin = from;
  if (from < newer_.end) RETURN_IF_ERROR(read_into(bytes.text, name_, newer_, from, bytes_max - bytes.text.size()));
  return bytes;
}

Result<LogFile::Bytes> LogFile::read_last(std::size_t bytes_max) {
  ASSIGN_OR_RETURN(const std::uint64_t last, end());
  std::uint64_t from = last > bytes_max ? last - bytes_max : 0;
  // What lies before a gap is not the newest.
  if (newer_.exists && older_.exists && newer_.begin != older_.end) from = std::max(from, newer_.begin);
  return read_from(from, bytes_max);
}

std::int64_t LogFile::remove() {
  std::int64_t freed = 0;
  for (const std::string& name : {name_, older_name_}) {
    struct stat info {};
    if (::fstatat(folder_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (::unlinkat(folder_.get(), name.c_str(), 0) == 0) freed += info.st_size;
  }
  known_ = false;
  return freed;
}

}  // namespace thaw::observe
