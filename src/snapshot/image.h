// What a snapshot says of a process: everything but the bytes of its memory, which lie beside it in the image file
// (image_file.h; docs/formats/snapshot.md).
//
// Value types; no I/O. Numbers are the kernel's own: addresses, flags and structures of x86-64 Linux, because a
// snapshot is restored only by the kind of kernel that it was taken on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace thaw::snapshot {

inline constexpr std::uint32_t kFormatVersion = 2;
inline constexpr std::uint64_t kPageBytes = 4096;
inline constexpr std::size_t kRegisters = 27;       // struct user_regs_struct, 8 bytes each
inline constexpr std::size_t kSignals = 64;         // 1 to 64
inline constexpr std::size_t kSigactionWords = 4;   // handler, flags, restorer, mask: the kernel's struct sigaction
inline constexpr std::size_t kResourceLimits = 16;  // RLIM_NLIMITS

// Bounds of what belongs to a snapshot beside memory: the freeze refuses what is beyond, and so does the reader.
inline constexpr std::size_t kObjectsMax = 262'144;
inline constexpr std::uint64_t kObjectBytesMax = 1ULL << 42;  // of one, holes included
inline constexpr std::size_t kTreeNodesMax = 262'144;
inline constexpr std::size_t kWatchesMax = 65'536;
inline constexpr std::uint32_t kPersonalityKept = 0x0040000;  // ADDR_NO_RANDOMIZE

using Bytes = std::vector<std::byte>;

// The identity of a file: a snapshot is worth nothing with another one in its place.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t modified_ns = 0;
  bool operator==(const FileIdentity&) const = default;
};

// Pages [start, end) that hold something: addresses of a mapping, or offsets in an object. Their bytes lie in the image
// file at `offset`, a multiple of the page size.
struct PageRun {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;
};

enum class MappingKind : std::uint8_t {
  anonymous,  // private; what is in no run reads as zeros
  file,       // private or shared-read-only; what is in no run is the file's
  special,    // [vvar], [vvar_vclock], [vdso]: the kernel's own, moved into place
  object,     // shared or private, of Image::objects; what is in no run is the object's
};

struct Mapping {
  MappingKind kind = MappingKind::anonymous;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint32_t protection = 0;  // PROT_*
  std::uint32_t flags = 0;       // MAP_SHARED or MAP_PRIVATE, MAP_GROWSDOWN, MAP_NORESERVE
  std::uint64_t offset = 0;      // in the file
  std::string name;              // the file's path in the environment; [vdso], ...; or the name of anonymous memory
  FileIdentity file;
  std::vector<std::uint32_t> advice;  // MADV_* to give again
  bool locked = false;                // mlock(2)
  std::uint32_t object = 0;           // which of Image::objects, for that kind
  bool may_write = false;             // a shared mapping whose file was opened for writing: mprotect(2) may ask for it
  std::vector<PageRun> runs;
};

enum class ObjectKind : std::uint8_t {
  memfd,
  shared_memory,  // MAP_SHARED | MAP_ANONYMOUS, or a shared mapping of /dev/zero
  unlinked,       // a file that has no name any more
  named,          // a file of a private folder; a TreeNode names it
};

// What is like a file and belongs to the snapshot, contents included. Every clone gets its own.
struct Object {
  ObjectKind kind = ObjectKind::memfd;
  std::string name;         // of a memfd; the path that an unlinked file had
  std::uint32_t mode = 0;   // permissions
  std::uint32_t seals = 0;  // F_SEAL_* of a memfd
  std::uint64_t size_bytes = 0;
  std::vector<PageRun> runs;  // what is in none reads as zeros
};

// An entry of a private folder. Its parent is the private folder or an earlier node. Owners are not kept: everything
// belongs to the user of the environment.
struct TreeNode {
  std::string path;
  std::uint32_t mode = 0;  // type and permissions, as st_mode
  std::uint64_t modified_ns = 0;
  std::string target;         // of a symbolic link
  std::uint32_t object = 0;   // of a regular file: one of Image::objects, of the kind `named`
  std::uint32_t link_of = 0;  // 1 + the number of the earlier node that is the same file; 0: a file of its own
};

struct Thread {
  std::uint32_t tid = 0;  // in the PID namespace
  std::string name;
  std::array<std::uint64_t, kRegisters> registers{};
  Bytes xstate;  // NT_X86_XSTATE: an XSAVE area in the standard format
  std::uint64_t signal_mask = 0;
  std::uint64_t altstack_address = 0;
  std::uint64_t altstack_bytes = 0;
  std::uint32_t altstack_flags = 0;
  std::uint64_t clear_child_tid = 0;
  std::uint64_t robust_list = 0;
  std::uint64_t robust_list_bytes = 0;
  std::uint64_t rseq_address = 0;
  std::uint32_t rseq_bytes = 0;
  std::uint32_t rseq_signature = 0;
  Bytes affinity;              // CPU mask; empty: every CPU of the machine
  std::vector<Bytes> pending;  // siginfo_t of signals sent to this thread, in order
  std::uint32_t parent_death_signal = 0;
  std::uint32_t policy = 0;  // SCHED_*; the kinds that need no privilege
  std::int32_t nice = 0;
  std::uint64_t timer_slack_ns = 0;
};

enum class DescriptorKind : std::uint8_t {
  file,    // a regular file or folder, opened again by its path; also one of a private folder
  device,  // /dev/null and its like
  output,  // the pipe to the function's log; the one of the new environment takes its place
  pipe,    // both ends, or one whose other end is gone
  eventfd,
  epoll,
  timerfd,
  signalfd,
  socketpair,  // a unix socket of any type whose peer is in this process too, or is gone
  tcp_listener,
  tcp_fresh,  // an internet socket that is not connected; flags say stream or datagram
  tcp_reset,  // was connected: comes back as a connection that the peer has reset
  object,     // one of Image::objects
  inotify,
  unix_listener,
  unix_fresh,  // a unix socket without a peer that does not listen; bound or not
  udp,         // an internet datagram socket that is bound, connected or both
  host_link,   // connected to the host's own service, at peer: connected anew, then queued is sent
};

struct EpollEntry {
  std::uint32_t descriptor = 0;
  std::uint32_t events = 0;
  std::uint64_t data = 0;
};

// As setsockopt(2) takes it.
struct SocketOption {
  std::uint32_t level = 0;
  std::uint32_t name = 0;
  Bytes value;
};

// What an inotify instance watches, under the number that the program knows.
struct Watch {
  std::int32_t number = 0;
  std::uint32_t mask = 0;
  std::string path;
  FileIdentity file;
};

// flock(2) or fcntl(2), held through a descriptor.
struct FileLock {
  std::uint8_t kind = 0;  // 0: flock; 1: of the process (F_SETLK); 2: of the description (F_OFD_SETLK)
  bool exclusive = false;
  std::uint64_t start = 0;
  std::uint64_t length = 0;  // 0: to the end of the file, however far it grows
};

// One open file description, with all the numbers by which the process knows it.
struct Descriptor {
  DescriptorKind kind = DescriptorKind::file;
  std::vector<std::uint32_t> numbers;       // ascending
  std::vector<std::uint8_t> close_on_exec;  // beside numbers
  std::uint32_t status_flags = 0;           // O_*
  std::uint64_t position = 0;               // file
  std::string path;                         // file, device
  FileIdentity file;                        // all zero: whatever has that name, which is so in /proc
  // pipe, socketpair: the same number for both ends. Ends of a pipe say which by O_WRONLY in status_flags.
  std::uint64_t pair = 0;
  Bytes queued;                          // bytes that wait to be read from this end; of a host link, to be sent
  std::uint32_t capacity = 0;            // of a pipe
  std::uint64_t count = 0;               // eventfd's counter, signalfd's mask
  std::uint32_t mode = 0;                // EFD_SEMAPHORE; a timerfd's clock; a socket's domain
  std::uint32_t type = 0;                // a socket's type
  std::array<std::uint64_t, 4> timer{};  // interval s, ns; value s, ns
  std::uint64_t ticks = 0;               // expirations not yet read
  std::vector<EpollEntry> watched;
  Bytes address;                // sockaddr that a socket is bound to; empty: none
  Bytes peer;                   // sockaddr that a udp socket or a host link is connected to; empty: none
  bool has_node = false;        // a bound unix socket whose name is still in the file system
  bool peer_gone = false;       // of a socket pair: the other end is closed
  std::uint32_t shutdown = 0;   // of a socket pair: 1 receives no more, 2 sends no more
  std::vector<Bytes> messages;  // that wait in a socket which keeps their borders
  std::uint32_t object = 0;     // which of Image::objects
  std::vector<Watch> watches;   // inotify; ascending numbers
  std::vector<FileLock> locks;
  std::vector<SocketOption> options;
};

struct IntervalTimer {
  std::array<std::uint64_t, 4> time{};  // interval s, us; value s, us
};

struct PosixTimer {
  std::int32_t id = 0;
  std::int32_t clock = 0;
  std::int32_t signal = 0;
  std::int32_t notify = 0;
  std::uint32_t tid = 0;
  std::uint64_t value = 0;
  std::array<std::uint64_t, 4> time{};  // interval s, ns; value s, ns
};

struct Process {
  std::uint32_t pid = 0;  // in the PID namespace
  std::string executable;
  FileIdentity executable_file;
  std::string working_directory;
  std::uint32_t umask = 0;
  bool dumpable = true;
  std::uint64_t brk = 0;
  // As PR_SET_MM_MAP names them: start_code, end_code, start_data, end_data, start_brk, start_stack, arg_start,
  // arg_end, env_start, env_end.
  std::array<std::uint64_t, 10> layout{};
  Bytes auxiliary_vector;
  std::array<std::array<std::uint64_t, kSigactionWords>, kSignals> actions{};
  std::array<std::array<std::uint64_t, 2>, kResourceLimits> limits{};  // soft, hard
  std::array<IntervalTimer, 3> interval_timers{};                      // ITIMER_REAL, _VIRTUAL, _PROF
  std::vector<PosixTimer> posix_timers;
  std::vector<Bytes> pending;  // siginfo_t of signals sent to the process
  std::int32_t oom_score_adj = 0;
  std::uint32_t personality = 0;
  bool huge_pages_off = false;  // PR_SET_THP_DISABLE
  bool subreaper = false;       // PR_SET_CHILD_SUBREAPER
};

// What must be the same where it is restored.
struct Fingerprint {
  std::string kernel;        // uname release and version, and the boot: monotonic clocks begin anew with each
  std::string cpu_features;  // the flags line of /proc/cpuinfo
  bool operator==(const Fingerprint&) const = default;
};

struct Image {
  Fingerprint fingerprint;
  Process process;
  std::vector<Thread> threads;    // the leader first
  std::vector<Mapping> mappings;  // ascending
  std::vector<Descriptor> descriptors;
  std::vector<Object> objects;
  std::vector<std::string> private_folders;  // whose contents are `tree`
  std::vector<TreeNode> tree;
  std::uint64_t pages_bytes = 0;  // of all runs together
  // Pages of the file up to here are what a restore waits for, in the order of use (image_order.h). 0: not ordered.
  std::uint64_t hot_end = 0;
};

// Whether a path lies in a folder that belongs to the environment: what is there is another file in each clone.
bool is_private(const std::vector<std::string>& folders, const std::string& path);

}  // namespace thaw::snapshot
