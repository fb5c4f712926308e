#include "snapshot/freeze_objects.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/sys.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint64_t kDataBytesMax = 64ULL << 30;  // of all objects together
constexpr std::string_view kDeleted = " (deleted)";
constexpr std::string_view kMemfd = "/memfd:";
constexpr std::uint32_t kPermissions = 07777;

Error refuse(std::string why) { return {ErrorKind::unsupported, std::move(why)}; }

std::uint64_t page_below(std::uint64_t at) { return at / kPageBytes * kPageBytes; }
std::uint64_t page_above(std::uint64_t at) { return page_below(at + kPageBytes - 1); }

// Whole pages of a file; beyond its end they are zeros.
Status read_pages(const std::string& source, std::uint64_t at, std::span<std::byte> into) {
  ASSIGN_OR_RETURN(const UniqueFd file, sys::open(source, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  while (!into.empty()) {
    const ssize_t count = ::pread(file.get(), into.data(), into.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return sys::errno_error("read the contents of a file");
    if (count == 0) break;
    at += static_cast<std::uint64_t>(count);
    into = into.subspan(static_cast<std::size_t>(count));
  }
  std::fill(into.begin(), into.end(), std::byte{0});
  return {};
}

}  // namespace

Result<std::optional<ObjectKind>> Objects::kind_of(const std::string& link, const struct stat& status) {
  const bool deleted = link.ends_with(kDeleted);
  if (!S_ISREG(status.st_mode) || status.st_nlink != 0 || !deleted) {
    if (deleted && S_ISREG(status.st_mode))
      return refuse("the file " + link + ", which has only other names left: close it before the snapshot");
    if (deleted && S_ISDIR(status.st_mode))
      return refuse("the deleted folder " + link + ": close it before the snapshot");
    return std::optional<ObjectKind>();
  }
  if (link.starts_with(kMemfd)) return std::optional(ObjectKind::memfd);
  if (link == "/dev/zero (deleted)") return std::optional(ObjectKind::shared_memory);
  if (link.starts_with("/SYSV")) return refuse("System V shared memory: use a memfd or MAP_SHARED | MAP_ANONYMOUS");
  if (link.starts_with("/[aio]")) return refuse("a context of io_setup(2): end it in the before-snapshot hook");
  if (link.starts_with("/secretmem")) return refuse("memory of memfd_secret(2), which nobody else can read");
  return std::optional(ObjectKind::unlinked);
}

Result<std::uint32_t> Objects::take(ObjectKind kind, const std::string& link, const std::string& source) {
  struct stat status {};
  struct statfs system {};
  if (::stat(source.c_str(), &status) != 0 || ::statfs(source.c_str(), &system) != 0) return sys::errno_error(link);
  const std::pair<std::uint64_t, std::uint64_t> file(status.st_dev, status.st_ino);
  if (const auto known = known_.find(file); known != known_.end()) return known->second;
  if (system.f_type == HUGETLBFS_MAGIC) return refuse("memory of huge pages (hugetlb): use transparent ones");
  if (image_.objects.size() == kObjectsMax) return refuse("one file too many: there is room for 262,144");
  Object object{.kind = kind,
                .name = {},
                .mode = status.st_mode & kPermissions,
                .size_bytes = static_cast<std::uint64_t>(status.st_size),
                .runs = {}};
  if (object.size_bytes > kObjectBytesMax) return refuse("a file of more than 4 TiB");
  const std::string name = link.ends_with(kDeleted) ? link.substr(0, link.size() - kDeleted.size()) : link;
  if (kind == ObjectKind::memfd) {
    object.name = name.substr(kMemfd.size());
    ASSIGN_OR_RETURN(const UniqueFd memory, sys::open(source, O_RDONLY));
    const int seals = ::fcntl(memory.get(), F_GET_SEALS);
    if (seals < 0) return sys::errno_error("F_GET_SEALS");
    object.seals = static_cast<std::uint32_t>(seals);
  } else if (kind == ObjectKind::unlinked) {
    object.name = name;
  }
  RETURN_IF_ERROR(find_data(source, object));
  const auto index = static_cast<std::uint32_t>(image_.objects.size());
  image_.objects.push_back(std::move(object));
  sources_.push_back(source);
  known_.emplace(file, index);
  return index;
}

// The parts of a file that are no holes, as runs of pages without places in the image yet.
Status Objects::find_data(const std::string& source, Object& object) {
  if (object.size_bytes == 0) return {};
  ASSIGN_OR_RETURN(const UniqueFd file, sys::open(source, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  for (off_t at = 0; at < static_cast<off_t>(object.size_bytes);) {
    const off_t data = ::lseek(file.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0) return sys::errno_error("find the contents of a file");
    const off_t hole = ::lseek(file.get(), data, SEEK_HOLE);
    if (hole <= data) return sys::errno_error("find the contents of a file");
    PageRun run{.start = page_below(static_cast<std::uint64_t>(data)),
                .end = page_above(std::min(static_cast<std::uint64_t>(hole), object.size_bytes))};
    if (!object.runs.empty() && object.runs.back().end >= run.start) {
      object.runs.back().end = std::max(object.runs.back().end, run.end);
    } else {
      object.runs.push_back(run);
    }
    data_bytes_ += static_cast<std::uint64_t>(hole - data);
    if (data_bytes_ > kDataBytesMax)
      return refuse("one of the files and memfds that hold more than 64 GiB: remove some before the snapshot");
    at = hole;
  }
  return {};
}

void Objects::add_to(PageCopier& copier) {
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    copier.add(
        [source = sources_[i]](std::uint64_t at, std::span<std::byte> into) { return read_pages(source, at, into); },
        Zeros::skip, image_.objects[i].runs);
  }
}

}  // namespace thaw::snapshot
