#include "snapshot/image_codec.h"

#include <concepts>
#include <cstring>
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
  return std::tie(x.kind, x.start, x.end, x.protection, x.flags, x.offset, x.name, x.file, x.advice, x.locked, x.object,
                  x.may_write, x.runs);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Thread> {
  return std::tie(x.tid, x.name, x.registers, x.xstate, x.signal_mask, x.altstack_address, x.altstack_bytes,
                  x.altstack_flags, x.clear_child_tid, x.robust_list, x.robust_list_bytes, x.rseq_address, x.rseq_bytes,
                  x.rseq_signature, x.affinity, x.pending, x.parent_death_signal, x.policy, x.nice, x.timer_slack_ns);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, EpollEntry> {
  return std::tie(x.descriptor, x.events, x.data);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, SocketOption> {
  return std::tie(x.level, x.name, x.value);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Watch> {
  return std::tie(x.number, x.mask, x.path, x.file);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, FileLock> {
  return std::tie(x.kind, x.exclusive, x.start, x.length);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Object> {
  return std::tie(x.kind, x.name, x.mode, x.seals, x.size_bytes, x.runs);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, TreeNode> {
  return std::tie(x.path, x.mode, x.modified_ns, x.target, x.object, x.link_of);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Descriptor> {
  return std::tie(x.kind, x.numbers, x.close_on_exec, x.status_flags, x.position, x.path, x.file, x.pair, x.queued,
                  x.capacity, x.count, x.mode, x.type, x.timer, x.ticks, x.watched, x.address, x.peer, x.has_node,
                  x.peer_gone, x.shutdown, x.messages, x.object, x.watches, x.locks, x.options);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, IntervalTimer> {
  return std::tie(x.time);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, PosixTimer> {
  return std::tie(x.id, x.clock, x.signal, x.notify, x.tid, x.value, x.time);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Process> {
  return std::tie(x.pid, x.executable, x.executable_file, x.working_directory, x.umask, x.dumpable, x.brk, x.layout,
                  x.auxiliary_vector, x.actions, x.limits, x.interval_timers, x.posix_timers, x.pending,
                  x.oom_score_adj, x.personality, x.huge_pages_off, x.subreaper);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Fingerprint> {
  return std::tie(x.kernel, x.cpu_features);
}
auto fields(auto& x) requires std::same_as<std::remove_const_t<std::remove_reference_t<decltype(x)>>, Image> {
  return std::tie(x.fingerprint, x.process, x.threads, x.mappings, x.descriptors, x.objects, x.private_folders, x.tree,
                  x.pages_bytes, x.hot_end);
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

Error corrupt(std::string what) { return {ErrorKind::corrupt, "snapshot: " + std::move(what)}; }

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

}  // namespace thaw::snapshot
