// The sense of an image: what the restore relies on, whatever bytes the image was read from.
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>

#include "snapshot/image_codec.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint64_t kAddressEnd = 0x7ffffffff000;  // of user space with four-level page tables
constexpr std::size_t kThreadsMax = 4096;
constexpr std::size_t kMappingsMax = 262'144;
constexpr std::size_t kDescriptorsMax = 65'536;
constexpr std::uint32_t kDescriptorNumberMax = 1 << 20;
constexpr std::size_t kXstateBytesMin = 576;
constexpr std::size_t kXstateBytesMax = 32'768;
constexpr std::size_t kPathBytesMax = 4096;
constexpr std::size_t kSocketAddressBytesMax = 128;
constexpr std::size_t kSocketOptionsMax = 128;
constexpr std::size_t kSocketOptionBytesMax = 64;
constexpr std::size_t kPrivateFoldersMax = 16;
constexpr std::uint32_t kSealsMax = 0x3f;
constexpr std::uint32_t kPermissions = 07777;
constexpr std::size_t kLocksMax = 4096;
constexpr std::uint64_t kLockEnd = 1ULL << 63;

Error corrupt(std::string what) { return {ErrorKind::corrupt, "snapshot: " + std::move(what)}; }

bool is_text(const std::string& text) { return text.size() < kPathBytesMax && text.find('\0') == std::string::npos; }
bool is_path(const std::string& path) { return is_text(path) && path.starts_with('/'); }

// A path that names what it says: no part of it is empty, "." or "..".
bool is_plain_path(const std::string& path) {
  if (!is_path(path)) return false;
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t end = std::min(path.find('/', at + 1), path.size());
    const std::string part = path.substr(at + 1, end - at - 1);
    if (part.empty() || part == "." || part == "..") return false;
    at = end;
  }
  return true;
}

bool aligned(std::uint64_t value) { return value % kPageBytes == 0; }

// Runs that ascend within [begin, end) and whose bytes lie among the pages.
class RunCheck {
 public:
  RunCheck(std::uint64_t pages_begin, std::uint64_t pages_end) : pages_begin_(pages_begin), pages_end_(pages_end) {}

  bool good(const std::vector<PageRun>& runs, std::uint64_t begin, std::uint64_t end) const {
    std::uint64_t from = begin;
    for (const PageRun& run : runs) {
      if (!aligned(run.start) || !aligned(run.end) || !aligned(run.offset) || run.start < from ||
          run.end <= run.start || run.end > end || run.offset < pages_begin_ || run.offset > pages_end_ ||
          run.end - run.start > pages_end_ - run.offset) {
        return false;
      }
      from = run.end;
    }
    return true;
  }

 private:
  const std::uint64_t pages_begin_;
  const std::uint64_t pages_end_;
};

Status validate_objects(const Image& image, const RunCheck& runs) {
  if (image.objects.size() > kObjectsMax) return corrupt("number of objects");
  for (const Object& object : image.objects) {
    if (object.kind > ObjectKind::named) return corrupt("an object's kind");
    if (!is_text(object.name) || object.mode > kPermissions || object.seals > kSealsMax)
      return corrupt("an object's name, mode or seals");
    if (object.size_bytes > kObjectBytesMax) return corrupt("an object's size");
    const std::uint64_t end = (object.size_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    if (!runs.good(object.runs, 0, end)) return corrupt("a run of pages of an object");
  }
  return {};
}

// Every node's parent is a private folder or a folder made before it, so no link of the tree leads out of it while it
// is made.
Status validate_tree(const Image& image) {
  if (image.private_folders.size() > kPrivateFoldersMax || image.tree.size() > kTreeNodesMax)
    return corrupt("number of files");
  std::set<std::string> folders;
  for (const std::string& folder : image.private_folders) {
    if (!is_plain_path(folder) || !folders.insert(folder).second) return corrupt("a private folder");
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < image.tree.size(); ++i) {
    const TreeNode& node = image.tree[i];
    if (!is_plain_path(node.path) || folders.contains(node.path) || !names.insert(node.path).second ||
        !folders.contains(node.path.substr(0, node.path.rfind('/')))) {
      return corrupt("a file's path");
    }
    if (!is_text(node.target)) return corrupt("a link's target");
    if (node.link_of > i) return corrupt("a file's other name");
    if (node.link_of != 0) {
      const TreeNode& first = image.tree[node.link_of - 1];
      if (first.link_of != 0 || S_ISDIR(first.mode) || first.mode != node.mode) return corrupt("a file's other name");
      continue;
    }
    switch (node.mode & S_IFMT) {
      case S_IFDIR:
        folders.insert(node.path);
        break;
      case S_IFREG:
        if (node.object >= image.objects.size() || image.objects[node.object].kind != ObjectKind::named)
          return corrupt("a file's contents");
        break;
      case S_IFLNK:
        if (node.target.empty()) return corrupt("a link's target");
        break;
      case S_IFIFO:
      case S_IFSOCK:
        break;
      default:
        return corrupt("a file's type");
    }
    if ((node.mode & ~(S_IFMT | kPermissions)) != 0) return corrupt("a file's mode");
  }
  return {};
}

bool is_object(const Image& image, std::uint32_t index) {
  return index < image.objects.size() && image.objects[index].kind != ObjectKind::named;
}

Status validate_mappings(const Image& image, const RunCheck& runs) {
  if (image.mappings.empty() || image.mappings.size() > kMappingsMax) return corrupt("number of mappings");
  std::uint64_t before = kPageBytes;
  for (const Mapping& mapping : image.mappings) {
    if (!aligned(mapping.start) || !aligned(mapping.end) || mapping.start < before || mapping.end <= mapping.start ||
        mapping.end > kAddressEnd || !aligned(mapping.offset)) {
      return corrupt("a mapping's addresses");
    }
    before = mapping.end;
    if (mapping.kind > MappingKind::object || mapping.protection > 7) return corrupt("a mapping's kind");
    if (!is_text(mapping.name)) return corrupt("a mapping's name");
    if (mapping.kind == MappingKind::file && !is_path(mapping.name)) return corrupt("a mapping's path");
    if (mapping.kind == MappingKind::object && !is_object(image, mapping.object)) return corrupt("a mapping's object");
    if (mapping.kind == MappingKind::special && !mapping.runs.empty()) return corrupt("pages of a special mapping");
    if (!runs.good(mapping.runs, mapping.start, mapping.end)) return corrupt("a run of pages");
  }
  return {};
}

Status validate_threads(const Image& image) {
  if (image.threads.empty() || image.threads.size() > kThreadsMax) return corrupt("number of threads");
  if (image.threads.front().tid != image.process.pid) return corrupt("the first thread is not the leader");
  std::set<std::uint32_t> tids;
  for (const Thread& thread : image.threads) {
    if (thread.tid < 2 || thread.tid > 4'194'304 || !tids.insert(thread.tid).second) return corrupt("a thread's id");
    if (thread.xstate.size() < kXstateBytesMin || thread.xstate.size() > kXstateBytesMax)
      return corrupt("a thread's xstate");
    if (thread.name.size() > 15 || thread.affinity.size() > 1024) return corrupt("a thread's name or affinity");
    // SCHED_OTHER, SCHED_BATCH, SCHED_IDLE: the others take precedence over everybody else on the machine.
    if ((thread.policy != 0 && thread.policy != 3 && thread.policy != 5) || thread.nice < -20 || thread.nice > 19)
      return corrupt("a thread's scheduling");
    for (const Bytes& info : thread.pending) {
      if (info.size() != 128) return corrupt("a pending signal");
    }
  }
  for (const Bytes& info : image.process.pending) {
    if (info.size() != 128) return corrupt("a pending signal");
  }
  return {};
}

Status validate_options(const Descriptor& descriptor) {
  if (descriptor.options.size() > kSocketOptionsMax) return corrupt("number of a socket's options");
  for (const SocketOption& option : descriptor.options) {
    if (option.value.empty() || option.value.size() > kSocketOptionBytesMax) return corrupt("a socket's option");
  }
  return {};
}

Status validate_watches(const Descriptor& descriptor) {
  if (descriptor.watches.size() > kWatchesMax) return corrupt("number of watches");
  std::int32_t last = 0;
  for (const Watch& watch : descriptor.watches) {
    if (watch.number <= last || !is_path(watch.path)) return corrupt("a watch");
    last = watch.number;
  }
  if (descriptor.locks.size() > kLocksMax) return corrupt("number of locks");
  for (const FileLock& lock : descriptor.locks) {
    if (lock.kind > 2 || lock.start >= kLockEnd || lock.length > kLockEnd - lock.start) return corrupt("a file's lock");
  }
  return {};
}

Status validate_descriptors(const Image& image) {
  if (image.descriptors.size() > kDescriptorsMax) return corrupt("number of descriptors");
  std::set<std::uint32_t> numbers;
  for (const Descriptor& descriptor : image.descriptors) {
    if (descriptor.kind > DescriptorKind::host_link) return corrupt("a descriptor's kind");
    if (descriptor.numbers.empty() || descriptor.numbers.size() != descriptor.close_on_exec.size())
      return corrupt("a descriptor's numbers");
    for (const std::uint32_t number : descriptor.numbers) {
      if (number > kDescriptorNumberMax || !numbers.insert(number).second) return corrupt("a descriptor's number");
    }
    const bool named = descriptor.kind == DescriptorKind::file || descriptor.kind == DescriptorKind::device;
    if (named && !is_path(descriptor.path)) return corrupt("a descriptor's path");
    if (descriptor.kind == DescriptorKind::object && !is_object(image, descriptor.object))
      return corrupt("a descriptor's object");
    if (descriptor.address.size() > kSocketAddressBytesMax || descriptor.peer.size() > kSocketAddressBytesMax ||
        descriptor.shutdown > 3) {
      return corrupt("a socket's address");
    }
    RETURN_IF_ERROR(validate_options(descriptor));
    RETURN_IF_ERROR(validate_watches(descriptor));
  }
  return {};
}

}  // namespace

bool is_private(const std::vector<std::string>& folders, const std::string& path) {
  return std::any_of(folders.begin(), folders.end(),
                     [&](const std::string& folder) { return path == folder || path.starts_with(folder + "/"); });
}

Status validate_image(const Image& image, std::uint64_t pages_begin, std::uint64_t pages_end) {
  if (pages_begin > pages_end || image.pages_bytes > pages_end - pages_begin) return corrupt("the size of its pages");
  if (image.hot_end != 0 && (image.hot_end < pages_begin || image.hot_end > pages_end))
    return corrupt("the end of its hot pages");
  const Process& process = image.process;
  if (!is_path(process.executable) || !is_path(process.working_directory)) return corrupt("a path");
  if (process.auxiliary_vector.size() > 1024 || process.auxiliary_vector.size() % 16 != 0)
    return corrupt("the auxiliary vector");
  if (process.posix_timers.size() > 65'536) return corrupt("number of timers");
  if (process.oom_score_adj < -1000 || process.oom_score_adj > 1000) return corrupt("oom_score_adj");
  if ((process.personality & ~kPersonalityKept) != 0) return corrupt("the personality");
  const RunCheck runs(pages_begin, pages_end);
  RETURN_IF_ERROR(validate_objects(image, runs));
  RETURN_IF_ERROR(validate_tree(image));
  RETURN_IF_ERROR(validate_mappings(image, runs));
  RETURN_IF_ERROR(validate_threads(image));
  return validate_descriptors(image);
}

}  // namespace thaw::snapshot
