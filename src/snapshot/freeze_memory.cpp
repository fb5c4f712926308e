// Memory maps of a held process, and the pages that are its own.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <sstream>

#include "base/sys.h"
#include "snapshot/freeze.h"
#include "snapshot/image_file.h"
#include "snapshot/proc_files.h"
#include "snapshot/tracee.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint64_t kPagePresent = 1ULL << 63;
constexpr std::uint64_t kPageSwapped = 1ULL << 62;
constexpr std::uint64_t kPageOfFile = 1ULL << 61;  // or of shared memory
constexpr std::size_t kEntriesAtOnce = 64 * 1024;
constexpr std::size_t kReadBytes = 1 << 20;
constexpr std::uint64_t kUserEnd = 0x7ffffffff000;

Error refuse(const Mapping& mapping, const std::string& why) {
  char place[64];
  std::snprintf(place, sizeof(place), "mapping %llx-%llx ", static_cast<unsigned long long>(mapping.start),
                static_cast<unsigned long long>(mapping.end));
  return {ErrorKind::unsupported, place + (mapping.name.empty() ? std::string() : "of " + mapping.name + " ") + why};
}

// VmFlags of smaps (proc(5)) that are given again by madvise(2).
void take_flags(std::istringstream flags, Mapping& mapping, bool& device_memory) {
  static const std::map<std::string, std::uint32_t> kAdvice = {
      {"dc", MADV_DONTFORK},   {"dd", MADV_DONTDUMP},  {"wf", MADV_WIPEONFORK}, {"hg", MADV_HUGEPAGE},
      {"nh", MADV_NOHUGEPAGE}, {"mg", MADV_MERGEABLE}, {"sr", MADV_SEQUENTIAL}, {"rr", MADV_RANDOM}};
  std::string flag;
  while (flags >> flag) {
    if (const auto found = kAdvice.find(flag); found != kAdvice.end()) mapping.advice.push_back(found->second);
    if (flag == "gd") mapping.flags |= MAP_GROWSDOWN;
    if (flag == "nr") mapping.flags |= MAP_NORESERVE;
    if (flag == "lo") mapping.locked = true;
    if (flag == "io" || flag == "pf") device_memory = true;
  }
}

Status classify(pid_t pid, Mapping& mapping, std::uint64_t inode, bool shared, bool device_memory) {
  const std::string& name = mapping.name;
  if (name == "[vdso]" || name.starts_with("[vvar")) {
    mapping.kind = MappingKind::special;
    return {};
  }
  if (device_memory) return refuse(mapping, "is memory of a device: unmap it before the snapshot");
  if (inode == 0) {
    if (shared) return refuse(mapping, "is shared anonymous memory");
    mapping.kind = MappingKind::anonymous;
    if (!name.starts_with("[anon:")) mapping.name.clear();
    return {};
  }
  if (shared && (mapping.protection & PROT_WRITE) != 0)
    return refuse(mapping, "is a writable shared mapping: use a private one, or unmap it before the snapshot");
  if (name.ends_with(" (deleted)"))
    return refuse(mapping, "is a mapping of a deleted file: map it from a file that stays");
  mapping.kind = MappingKind::file;
  auto identity = identify(proc_path(pid, "root") + name);
  if (!identity.ok() || identity->inode != inode) return refuse(mapping, "is not the file of that name any more");
  mapping.file = *identity;
  return {};
}

// The populated private pages of a mapping, as runs without places in the image yet.
Status find_pages(const UniqueFd& pagemap, Mapping& mapping) {
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

bool is_zero(std::span<const std::byte> page) {
  return page[0] == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

// A page of zeros in anonymous memory is what is there anyway: it costs no place.
class RunWriter {
 public:
  RunWriter(Tracee& tracee, ImageWriter& writer, bool keep_zeros)
      : tracee_(tracee), writer_(writer), keep_zeros_(keep_zeros) {}

  Status write(const PageRun& run) {
    std::vector<std::byte> buffer(std::min<std::uint64_t>(run.end - run.start, kReadBytes));
    for (std::uint64_t at = run.start; at < run.end;) {
      const std::span<std::byte> part = std::span(buffer).first(std::min<std::uint64_t>(run.end - at, buffer.size()));
      RETURN_IF_ERROR(tracee_.read_memory(at, part));
      RETURN_IF_ERROR(write_part(at, part));
      at += part.size();
    }
    return {};
  }
  std::vector<PageRun> runs;

 private:
  Status write_part(std::uint64_t at, std::span<const std::byte> bytes) {
    for (std::size_t from = 0; from < bytes.size();) {
      std::size_t to = from;
      while (to < bytes.size() && (keep_zeros_ || !is_zero(bytes.subspan(to, kPageBytes)))) to += kPageBytes;
      if (to > from) {
        ASSIGN_OR_RETURN(const std::uint64_t offset, writer_.append(bytes.subspan(from, to - from)));
        add({.start = at + from, .end = at + to, .offset = offset});
      }
      from = to;
      while (!keep_zeros_ && from < bytes.size() && is_zero(bytes.subspan(from, kPageBytes))) from += kPageBytes;
    }
    return {};
  }
  void add(const PageRun& run) {
    const bool follows = !runs.empty() && runs.back().end == run.start &&
                         runs.back().offset + (run.start - runs.back().start) == run.offset;
    if (follows) {
      runs.back().end = run.end;
    } else {
      runs.push_back(run);
    }
  }
  Tracee& tracee_;
  ImageWriter& writer_;
  const bool keep_zeros_;
};

// "7f00-7f10 rw-p 00001000 fe:00 1234   /path": the line that begins a mapping in smaps.
bool parse_head(const std::string& line, Mapping& mapping, std::uint64_t& inode, bool& shared) {
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
  shared = mode[3] == 's';
  mapping.flags = shared ? MAP_SHARED : MAP_PRIVATE;
  if (name > 0 && static_cast<std::size_t>(name) < line.size())
    mapping.name = line.substr(static_cast<std::size_t>(name));
  if (mapping.name.starts_with("[anon_shmem")) mapping.name.clear();
  inode = node;
  if (inode == 0) mapping.offset = 0;
  return true;
}

}  // namespace

Status read_mappings(Tracee& tracee, Image& image) {
  ASSIGN_OR_RETURN(const std::string text, read_proc(tracee.pid(), "smaps"));
  ASSIGN_OR_RETURN(const UniqueFd pagemap, sys::open(proc_path(tracee.pid(), "pagemap"), O_RDONLY));
  std::istringstream lines(text);
  std::string line;
  Mapping mapping;
  std::uint64_t inode = 0;
  bool shared = false;
  while (std::getline(lines, line)) {
    if (parse_head(line, mapping, inode, shared) || !line.starts_with("VmFlags:")) continue;
    // The last line of a mapping. [vsyscall] lies outside of user space and is everywhere the same.
    if (mapping.start >= kUserEnd || mapping.name == "[uprobes]") continue;
    bool device_memory = false;
    take_flags(std::istringstream(line.substr(8)), mapping, device_memory);
    RETURN_IF_ERROR(classify(tracee.pid(), mapping, inode, shared, device_memory));
    if (mapping.kind != MappingKind::special && !shared) RETURN_IF_ERROR(find_pages(pagemap, mapping));
    image.mappings.push_back(mapping);
  }
  return {};
}

Status write_pages(Tracee& tracee, Image& image, ImageWriter& writer) {
  for (Mapping& mapping : image.mappings) {
    RunWriter runs(tracee, writer, mapping.kind == MappingKind::file);
    for (const PageRun& run : mapping.runs) RETURN_IF_ERROR(runs.write(run));
    mapping.runs = std::move(runs.runs);
  }
  return {};
}

}  // namespace thaw::snapshot
