// Memory maps of a held process, and the pages that are its own.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <sstream>

#include "base/sys.h"
#include "snapshot/freeze.h"
#include "snapshot/freeze_objects.h"
#include "snapshot/freeze_pages.h"
#include "snapshot/image_memory.h"
#include "snapshot/proc_files.h"
#include "snapshot/tracee.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint64_t kPagePresent = 1ULL << 63;
constexpr std::uint64_t kPageSwapped = 1ULL << 62;
constexpr std::uint64_t kPageOfFile = 1ULL << 61;  // or of shared memory
constexpr std::size_t kEntriesAtOnce = 64 * 1024;
constexpr std::string_view kDeleted = " (deleted)";
constexpr std::uint64_t kUserEnd = 0x7ffffffff000;

Error refuse(const Mapping& mapping, const std::string& why) {
  char place[64];
  std::snprintf(place, sizeof(place), "mapping %llx-%llx ", static_cast<unsigned long long>(mapping.start),
                static_cast<unsigned long long>(mapping.end));
  return {ErrorKind::unsupported, place + (mapping.name.empty() ? std::string() : "of " + mapping.name + " ") + why};
}

// What smaps says of a mapping beside what is kept of it.
struct Details {
  std::uint64_t inode = 0;
  bool shared = false;
  bool device_memory = false;
  bool huge = false;
  const char* special = nullptr;  // why it cannot be made again
};

// VmFlags of smaps (proc(5)) that are given again by madvise(2).
void take_flags(std::istringstream flags, Mapping& mapping, Details& details) {
  static const std::map<std::string, std::uint32_t> kAdvice = {
      {"dc", MADV_DONTFORK},   {"dd", MADV_DONTDUMP},  {"wf", MADV_WIPEONFORK}, {"hg", MADV_HUGEPAGE},
      {"nh", MADV_NOHUGEPAGE}, {"mg", MADV_MERGEABLE}, {"sr", MADV_SEQUENTIAL}, {"rr", MADV_RANDOM}};
  std::string flag;
  while (flags >> flag) {
    if (const auto found = kAdvice.find(flag); found != kAdvice.end()) mapping.advice.push_back(found->second);
    if (flag == "gd") mapping.flags |= MAP_GROWSDOWN;
    if (flag == "nr") mapping.flags |= MAP_NORESERVE;
    if (flag == "lo") mapping.locked = true;
    if (flag == "io" || flag == "pf") details.device_memory = true;
    if (flag == "ht") details.huge = true;
    if (flag == "sl") details.special = "is sealed (mseal): seal it after the snapshot";
    if (flag == "ss") details.special = "is a shadow stack: start the program without (GLIBC_TUNABLES)";
    if (flag == "um" || flag == "uw") details.special = "is registered with userfaultfd: unregister it";
    if (flag == "mw" && details.shared) mapping.may_write = true;
  }
}

class Classifier {
 public:
  Classifier(pid_t pid, const FreezeRequest& request, Objects& objects)
      : pid_(pid), request_(request), objects_(objects) {}

  Status classify(Mapping& mapping, const Details& details) {
    const std::string& name = mapping.name;
    if (name == "[vdso]" || name.starts_with("[vvar")) {
      mapping.kind = MappingKind::special;
      return {};
    }
    if (is_image_memory(name) && !is_private(request_.private_folders, name)) {
      mapping.kind = MappingKind::anonymous;
      mapping.name.clear();
      mapping.offset = 0;
      mapping.runs = {{.start = mapping.start, .end = mapping.end}};
      return {};
    }
    if (details.device_memory) return refuse(mapping, "is memory of a device: unmap it before the snapshot");
    if (details.special != nullptr) return refuse(mapping, details.special);
    if (details.huge) return refuse(mapping, "is memory of huge pages (MAP_HUGETLB): use transparent ones");
    if (details.inode == 0 && !details.shared) {
      mapping.kind = MappingKind::anonymous;
      if (!name.starts_with("[anon:")) mapping.name.clear();
      return {};
    }
    if (name.ends_with(kDeleted) || name.starts_with("[anon_shmem")) {
      ASSIGN_OR_RETURN(const bool taken, take_object(mapping));
      if (taken) return {};
    }
    if (!name.starts_with('/')) return refuse(mapping, "cannot be frozen: unmap it before the snapshot");
    const bool own = is_private(request_.private_folders, name);
    if (details.shared && (mapping.protection & PROT_WRITE) != 0 && !own)
      return refuse(mapping, "is a writable shared mapping of a file that all clones would share: map a file in /tmp");
    // mprotect(2) can make what was mapped from a file opened for writing writable; elsewhere it is opened for reading.
    if (!own) mapping.may_write = false;
    mapping.kind = MappingKind::file;
    auto identity = identify(proc_path(pid_, "root") + name);
    if (!identity.ok() || identity->inode != details.inode)
      return refuse(mapping, "is not the file of that name any more");
    mapping.file = lasting(name, *identity);
    return {};
  }

 private:
  // Whether it is a mapping of an object that belongs to the snapshot.
  Result<bool> take_object(Mapping& mapping) {
    char range[64];
    std::snprintf(range, sizeof(range), "map_files/%llx-%llx", static_cast<unsigned long long>(mapping.start),
                  static_cast<unsigned long long>(mapping.end));
    const std::string source = proc_path(pid_, range);
    struct stat status {};
    if (::stat(source.c_str(), &status) != 0) return sys::errno_error(mapping.name);
    ASSIGN_OR_RETURN(const std::string link, read_link(source));
    const auto kind = Objects::kind_of(link, status);
    if (!kind.ok()) return refuse(mapping, "is " + kind.error().message);
    if (!kind->has_value()) return false;
    const auto object = objects_.take(**kind, link, source);
    if (!object.ok()) return refuse(mapping, "is " + object.error().message);
    const bool sealed = (objects_.seals_of(*object) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0;
    if (sealed && mapping.may_write)
      return refuse(mapping, "is a writable mapping of a memfd that is sealed against writing: unmap it");
    mapping.kind = MappingKind::object;
    mapping.object = *object;
    return true;
  }

  const pid_t pid_;
  const FreezeRequest& request_;
  Objects& objects_;
};

// The memory of a clone: what it has not touched yet can be read by nobody else, so it touches all of it.
Status touch_pages(Tracee& tracee, const Mapping& mapping) {
  const Tracee::Stopped& leader = tracee.threads().front();
  const std::uint64_t bytes = mapping.end - mapping.start;
  const bool readable = (mapping.protection & PROT_READ) != 0;
  if (!readable) RETURN_IF_ERROR(tracee.call(leader, SYS_mprotect, mapping.start, bytes, PROT_READ));
  ASSIGN_OR_RETURN(const std::int64_t result,
                   tracee.call(leader, SYS_madvise, mapping.start, bytes, MADV_POPULATE_READ));
  if (!readable) RETURN_IF_ERROR(tracee.call(leader, SYS_mprotect, mapping.start, bytes, mapping.protection));
  if (result != 0) return refuse(mapping, "is memory of a snapshot that cannot be read");
  return {};
}

// The populated private pages of a mapping, as runs without places in the image yet.
Status find_pages(const UniqueFd& pagemap, Mapping& mapping) {
  if (!mapping.runs.empty()) return {};
  std::vector<std::uint64_t> entries(
      std::min<std::uint64_t>((mapping.end - mapping.start) / kPageBytes, kEntriesAtOnce));
  for (std::uint64_t at = mapping.start; at < mapping.end;) {
    const std::size_t wanted = std::min<std::uint64_t>((mapping.end - at) / kPageBytes, entries.size());
    const ssize_t got = ::pread(pagemap.get(), entries.data(), wanted * 8, static_cast<off_t>(at / kPageBytes * 8));
    if (got <= 0) return sys::errno_error("read the page map");
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / 8; ++i, at += kPageBytes) {
      const bool here = (entries[i] & (kPagePresent | kPageSwapped)) != 0 && (entries[i] & kPageOfFile) == 0;
      if (!here) continue;
      if (!mapping.runs.empty() && mapping.runs.back().end == at) {
        mapping.runs.back().end += kPageBytes;
      } else {
        mapping.runs.push_back({.start = at, .end = at + kPageBytes});
      }
    }
  }
  return {};
}

// "7f00-7f10 rw-p 00001000 fe:00 1234   /path": the line that begins a mapping in smaps.
bool parse_head(const std::string& line, Mapping& mapping, Details& details) {
  unsigned long long start = 0;
  unsigned long long end = 0;
  unsigned long long offset = 0;
  unsigned long long node = 0;
  char mode[5] = {};
  int name = 0;
  if (std::sscanf(line.c_str(), "%llx-%llx %4s %llx %*s %llu %n", &start, &end, mode, &offset, &node, &name) != 5)
    return false;
  mapping = {.start = start, .end = end, .offset = offset};
  if (mode[0] == 'r') mapping.protection |= PROT_READ;
  if (mode[1] == 'w') mapping.protection |= PROT_WRITE;
  if (mode[2] == 'x') mapping.protection |= PROT_EXEC;
  details = {.inode = node, .shared = mode[3] == 's'};
  mapping.flags = details.shared ? MAP_SHARED : MAP_PRIVATE;
  if (name > 0 && static_cast<std::size_t>(name) < line.size())
    mapping.name = line.substr(static_cast<std::size_t>(name));
  if (node == 0) mapping.offset = 0;
  return true;
}

}  // namespace

Status read_mappings(Tracee& tracee, const FreezeRequest& request, Objects& objects, Image& image) {
  ASSIGN_OR_RETURN(const std::string text, read_proc(tracee.pid(), "smaps"));
  ASSIGN_OR_RETURN(const UniqueFd pagemap, sys::open(proc_path(tracee.pid(), "pagemap"), O_RDONLY));
  Classifier classifier(tracee.pid(), request, objects);
  std::istringstream lines(text);
  std::string line;
  Mapping mapping;
  Details details;
  while (std::getline(lines, line)) {
    if (parse_head(line, mapping, details)) continue;
    if (line.starts_with("ProtectionKey:") && number(std::string_view(line).substr(14)) != 0)
      details.special = "has a protection key (pkey_mprotect): set it after the snapshot";
    if (!line.starts_with("VmFlags:")) continue;
    // The last line of a mapping. [vsyscall] lies outside of user space and is everywhere the same.
    if (mapping.start >= kUserEnd || mapping.name == "[uprobes]") continue;
    take_flags(std::istringstream(line.substr(8)), mapping, details);
    RETURN_IF_ERROR(classifier.classify(mapping, details));
    if (!mapping.runs.empty()) RETURN_IF_ERROR(touch_pages(tracee, mapping));
    if (mapping.kind != MappingKind::special && !details.shared) RETURN_IF_ERROR(find_pages(pagemap, mapping));
    image.mappings.push_back(mapping);
  }
  return {};
}

// A page of zeros in anonymous memory is what is there anyway: it costs no place. Over a file it hides the file's
// bytes.
void add_pages(Tracee& tracee, Image& image, PageCopier& copier) {
  for (Mapping& mapping : image.mappings) {
    if (mapping.runs.empty()) continue;
    const Zeros zeros = mapping.kind == MappingKind::anonymous ? Zeros::skip : Zeros::keep;
    copier.add([&tracee](std::uint64_t at, std::span<std::byte> into) { return tracee.read_memory(at, into); }, zeros,
               mapping.runs);
  }
}

}  // namespace thaw::snapshot
