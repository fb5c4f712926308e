#include "snapshot/image_codec.h"

#include <algorithm>
#include <concepts>
#include <cstring>
#include <set>
#include <tuple>
#include <type_traits>

namespace thaw::snapshot {
namespace {

// The fields of every type, once, for both directions. The order is the format.
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, FileIdentity> {
  return std::tie(x.device, x.inode, x.size_bytes, x.modified_ns);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, PageRun> {
  return std::tie(x.start, x.end, x.offset);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Mapping> {
  return std::tie(x.kind, x.start, x.end, x.protection, x.flags, x.offset, x.name, x.file, x.advice, x.locked, x.runs);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Thread> {
  return std::tie(x.tid, x.name, x.registers, x.xstate, x.signal_mask, x.altstack_address, x.altstack_bytes,
                  x.altstack_flags, x.clear_child_tid, x.robust_list, x.robust_list_bytes, x.rseq_address, x.rseq_bytes,
                  x.rseq_signature, x.affinity, x.pending, x.parent_death_signal);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, EpollEntry> {
  return std::tie(x.descriptor, x.events, x.data);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Descriptor> {
  return std::tie(x.kind, x.numbers, x.close_on_exec, x.status_flags, x.position, x.path, x.file, x.pair, x.queued,
                  x.capacity, x.count, x.mode, x.type, x.timer, x.ticks, x.watched, x.address, x.options);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, IntervalTimer> {
  return std::tie(x.time);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, PosixTimer> {
  return std::tie(x.id, x.clock, x.signal, x.notify, x.tid, x.value, x.time);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Process> {
  return std::tie(x.pid, x.executable, x.executable_file, x.working_directory, x.umask, x.dumpable, x.brk, x.layout,
                  x.auxiliary_vector, x.actions, x.limits, x.interval_timers, x.posix_timers, x.pending);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Fingerprint> {
  return std::tie(x.kernel, x.cpu_features);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Image> {
  return std::tie(x.fingerprint, x.process, x.threads, x.mappings, x.descriptors, x.pages_bytes);
}

template <class T>
concept Scalar = std::is_arithmetic_v<T> || std::is_enum_v<T> || std::same_as<T, std::byte>;

class Writer {
 public:
  template <Scalar T>
  void put(const T& value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void put(const std::string& text) {
    put(static_cast<std::uint32_t>(text.size()));
    out += text;
  }
  template <class T>
  void put(const std::vector<T>& list) {
    put(static_cast<std::uint32_t>(list.size()));
    for (const T& one : list) put(one);
  }
  template <class T, std::size_t n>
  void put(const std::array<T, n>& list) {
    for (const T& one : list) put(one);
  }
  template <class T>
  requires requires(const T& x) { fields(x); }
  void put(const T& object) {
    std::apply([this](const auto&... field) { (put(field), ...); }, fields(object));
  }
  std::string out;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}
  bool good() const { return good_; }
  bool at_end() const { return left_.empty(); }

  template <Scalar T>
  void get(T& value) {
    if (left_.size() < sizeof(value)) return fail();
    if constexpr (std::same_as<T, bool>) {
      // Any other byte would be no bool at all.
      const auto byte = std::to_integer<unsigned>(left_.front());
      if (byte > 1) return fail();
      value = byte == 1;
    } else {
      std::memcpy(&value, left_.data(), sizeof(value));
    }
    left_ = left_.subspan(sizeof(value));
  }
  void get(std::string& text) {
    const std::uint32_t size = count();
    if (!good_) return;
    text.assign(reinterpret_cast<const char*>(left_.data()), size);
    left_ = left_.subspan(size);
  }
  template <class T>
  void get(std::vector<T>& list) {
    const std::uint32_t size = count();
    if (!good_) return;
    // An element takes at least a byte, so the list grows no faster than the bytes that are there.
    for (std::uint32_t i = 0; i < size && good_; ++i) get(list.emplace_back());
  }
  template <class T, std::size_t n>
  void get(std::array<T, n>& list) {
    for (T& one : list) get(one);
  }
  template <class T>
  requires requires(T& x) { fields(x); }
  void get(T& object) {
    std::apply([this](auto&... field) { (get(field), ...); }, fields(object));
  }

 private:
  std::uint32_t count() {
    std::uint32_t size = 0;
    get(size);
    if (size > left_.size()) fail();
    return good_ ? size : 0;
  }
  void fail() {
    good_ = false;
    left_ = {};
  }
  std::span<const std::byte> left_;
  bool good_ = true;
};

constexpr std::uint64_t kAddressEnd = 0x7ffffffff000;  // of user space with four-level page tables
constexpr std::size_t kThreadsMax = 4096;
constexpr std::size_t kMappingsMax = 262'144;
constexpr std::size_t kDescriptorsMax = 65'536;
constexpr std::uint32_t kDescriptorNumberMax = 1 << 20;
constexpr std::size_t kXstateBytesMin = 576;
constexpr std::size_t kXstateBytesMax = 32'768;
constexpr std::size_t kPathBytesMax = 4096;

Error corrupt(std::string what) { return {ErrorKind::corrupt, "snapshot: " + std::move(what)}; }

bool is_path(const std::string& path) {
  return path.size() < kPathBytesMax && path.starts_with('/') && path.find('\0') == std::string::npos;
}

Status validate_mappings(const Image& image, std::uint64_t pages_begin, std::uint64_t pages_end) {
  if (image.mappings.empty() || image.mappings.size() > kMappingsMax) return corrupt("number of mappings");
  std::uint64_t before = kPageBytes;
  for (const Mapping& mapping : image.mappings) {
    const auto aligned = [](std::uint64_t value) { return value % kPageBytes == 0; };
    if (!aligned(mapping.start) || !aligned(mapping.end) || mapping.start < before || mapping.end <= mapping.start ||
        mapping.end > kAddressEnd || !aligned(mapping.offset)) {
      return corrupt("a mapping's addresses");
    }
    before = mapping.end;
    if (mapping.kind > MappingKind::special || mapping.protection > 7) return corrupt("a mapping's kind");
    if (mapping.name.size() >= kPathBytesMax || mapping.name.find('\0') != std::string::npos)
      return corrupt("a mapping's name");
    if (mapping.kind == MappingKind::file && !is_path(mapping.name)) return corrupt("a mapping's path");
    if (mapping.kind == MappingKind::special && !mapping.runs.empty()) return corrupt("pages of a special mapping");
    std::uint64_t from = mapping.start;
    for (const PageRun& run : mapping.runs) {
      if (!aligned(run.start) || !aligned(run.end) || !aligned(run.offset) || run.start < from ||
          run.end <= run.start || run.end > mapping.end || run.offset < pages_begin || run.offset > pages_end ||
          run.end - run.start > pages_end - run.offset) {
        return corrupt("a run of pages");
      }
      from = run.end;
    }
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
    for (const Bytes& info : thread.pending) {
      if (info.size() != 128) return corrupt("a pending signal");
    }
  }
  for (const Bytes& info : image.process.pending) {
    if (info.size() != 128) return corrupt("a pending signal");
  }
  return {};
}

Status validate_descriptors(const Image& image) {
  if (image.descriptors.size() > kDescriptorsMax) return corrupt("number of descriptors");
  std::set<std::uint32_t> numbers;
  for (const Descriptor& descriptor : image.descriptors) {
    if (descriptor.kind > DescriptorKind::tcp_reset) return corrupt("a descriptor's kind");
    if (descriptor.numbers.empty() || descriptor.numbers.size() != descriptor.close_on_exec.size())
      return corrupt("a descriptor's numbers");
    for (const std::uint32_t number : descriptor.numbers) {
      if (number > kDescriptorNumberMax || !numbers.insert(number).second) return corrupt("a descriptor's number");
    }
    const bool named = descriptor.kind == DescriptorKind::file || descriptor.kind == DescriptorKind::device;
    if (named && !is_path(descriptor.path)) return corrupt("a descriptor's path");
    if (descriptor.address.size() > 128) return corrupt("a socket's address");
  }
  return {};
}

}  // namespace

std::string encode_image(const Image& image) {
  Writer writer;
  writer.put(image);
  return std::move(writer.out);
}

Result<Image> decode_image(std::span<const std::byte> bytes) {
  if (bytes.size() > kMetadataBytesMax) return corrupt("larger than its bound");
  Reader reader(bytes);
  Image image;
  reader.get(image);
  if (!reader.good()) return corrupt("ends too early");
  if (!reader.at_end()) return corrupt("goes on after its end");
  return image;
}

Status validate_image(const Image& image, std::uint64_t pages_begin, std::uint64_t pages_end) {
  if (pages_begin > pages_end || image.pages_bytes > pages_end - pages_begin) return corrupt("the size of its pages");
  if (!is_path(image.process.executable) || !is_path(image.process.working_directory)) return corrupt("a path");
  if (image.process.auxiliary_vector.size() > 1024 || image.process.auxiliary_vector.size() % 16 != 0)
    return corrupt("the auxiliary vector");
  if (image.process.posix_timers.size() > 65'536) return corrupt("number of timers");
  RETURN_IF_ERROR(validate_mappings(image, pages_begin, pages_end));
  RETURN_IF_ERROR(validate_threads(image));
  return validate_descriptors(image);
}

}  // namespace thaw::snapshot
