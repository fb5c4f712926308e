#include "snapshot/proc_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include "base/sys.h"
#include "sandbox/sandbox.h"

namespace thaw::snapshot {
namespace {

constexpr std::size_t kLinkBytesMax = 4096;

FileIdentity identity_of(const struct stat& info) {
  return {.device = info.st_dev,
          .inode = info.st_ino,
          .size_bytes = static_cast<std::uint64_t>(info.st_size),
          .modified_ns = static_cast<std::uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 +
                         static_cast<std::uint64_t>(info.st_mtim.tv_nsec)};
}

}  // namespace

std::string proc_path(pid_t pid, std::string_view name) {
  return "/proc/" + std::to_string(pid) + "/" + std::string(name);
}

Result<std::string> read_proc(pid_t pid, std::string_view name) {
  return sys::read_file(proc_path(pid, name), kProcFileBytesMax);
}

Result<std::string> read_link(const std::string& path) {
  std::string target(kLinkBytesMax, '\0');
  const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
  if (size < 0) return sys::errno_error(path);
  target.resize(static_cast<std::size_t>(size));
  return target;
}

std::optional<std::string_view> value_of(std::string_view text, std::string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    line.remove_prefix(key.size() + 1);
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    return line;
  }
  return std::nullopt;
}

std::uint64_t number(std::string_view text, int base) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  if (base == 16 && text.starts_with("0x")) text.remove_prefix(2);
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

Result<FileIdentity> identify(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return sys::errno_error(path);
  return identity_of(info);
}

Result<FileIdentity> identify(int descriptor) {
  struct stat info;
  if (::fstat(descriptor, &info) != 0) return sys::errno_error("fstat");
  return identity_of(info);
}

FileIdentity lasting(const std::string& path, FileIdentity identity) {
  constexpr std::string_view kModel = sandbox::kModelFolder;
  const bool of_model = path.size() > kModel.size() && path.starts_with(kModel) && path[kModel.size()] == '/';
  if (of_model) return {.size_bytes = identity.size_bytes};
  return identity;
}

}  // namespace thaw::snapshot
