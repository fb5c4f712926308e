// The messages between the server half and the spawner.
//
// The spawner has all privileges and the server half has none, so what arrives here is not trusted: every message is
// bounded, versioned and checked whole before anything is allocated or done for it. A message never holds a path: files
// are named by descriptors that travel beside it (SCM_RIGHTS).
//
// One message is one datagram of a SOCK_SEQPACKET socket: a fixed header, a fixed body, and for `start` a tail of
// strings. Integers are in the machine's byte order: both ends are on it. Reserved fields must be zero.
//
//   request        body          tail                              descriptors
//   start          StartBody     argv, then the variables: each    the package's folder, the output pipe; with
//                                string with its NUL,              model, runtime, layers: that folder;
//                                strings_bytes in all              with restore: the image, its working set
//   make_sockets   CountBody     -                                 -
//   freeze         FreezeBody    a PendingHead and its bytes for   the image, an empty writable file
//                                each call that waits
//   destroy        -             -                                 -
//   terminate      -             -                                 -
//
//   reply          body          descriptors
//   ready          ReadyBody     -                                 sent once, before the first request is read
//   started        StartedBody   control files, as controls says, then the sockets, then the
//                                listeners: of the Runtime API, of calls
//   sockets_made   SocketsBody   the sockets
//   frozen         FrozenBody    -
//   exited         ExitedBody    -                                 serial is 0
//
// serial is chosen by the client and returned in the reply; id is the environment's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "sandbox/sandbox.h"

namespace thaw::sandbox::protocol {

inline constexpr std::uint32_t kMagic = 0x50534854;  // "THSP"
inline constexpr std::uint16_t kVersion = 4;

enum class MessageType : std::uint16_t {
  start = 1,
  make_sockets = 2,
  destroy = 3,
  freeze = 4,
  terminate = 5,
  ready = 101,
  started = 102,
  sockets_made = 103,
  exited = 104,
  frozen = 105,
};

struct Header {
  std::uint32_t magic = kMagic;
  std::uint16_t version = kVersion;
  std::uint16_t type = 0;
  std::uint64_t serial = 0;
  std::uint64_t id = 0;
};
static_assert(sizeof(Header) == 24 && std::is_trivially_copyable_v<Header>);

struct StartBody {
  std::uint64_t memory_bytes = 0;
  std::uint64_t tmp_bytes = 0;
  std::uint32_t cpu_milli = 0;
  std::uint32_t pids_max = 0;
  std::uint32_t sockets = 0;
  std::uint32_t engine = 0;
  std::uint32_t argument_count = 0;
  std::uint32_t variable_count = 0;
  std::uint32_t strings_bytes = 0;
  std::uint32_t restore = 0;  // 1: from an image
  std::uint32_t model = 0;    // 1: with a model
  std::uint32_t runtime = 0;  // 1: with a runtime
  std::uint32_t layers = 0;   // 1: with layers
  std::uint16_t runtime_api_port = 0;
  std::uint16_t egress = 0;  // 1: with a way out of its network namespace
  std::uint16_t calls_port = 0;
  std::uint16_t reserved[3] = {};
};
static_assert(sizeof(StartBody) == 72 && std::is_trivially_copyable_v<StartBody>);

struct CountBody {
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(CountBody) == 8 && std::is_trivially_copyable_v<CountBody>);

struct FreezeBody {
  std::uint32_t strict_connections = 0;
  std::uint32_t runtime_api_port = 0;
  std::uint32_t pending = 0;  // how many calls
  std::uint32_t calls_port = 0;
};
static_assert(sizeof(FreezeBody) == 16 && std::is_trivially_copyable_v<FreezeBody>);

struct PendingHead {
  std::uint16_t port = 0;
  std::uint16_t bytes = 0;  // of the request, which follows
};
static_assert(sizeof(PendingHead) == 4 && std::is_trivially_copyable_v<PendingHead>);

// How a request went. status: 0, or 1 + the ErrorKind; code and message end with a NUL.
struct Outcome {
  std::uint32_t status = 0;
  std::uint32_t reserved = 0;
  char code[32] = {};
  char message[216] = {};
};
static_assert(sizeof(Outcome) == 256 && std::is_trivially_copyable_v<Outcome>);

struct ReadyBody {
  Outcome outcome;
};
static_assert(sizeof(ReadyBody) == 256);

// Which control files came, in this order.
inline constexpr std::uint32_t kControlFreezeV2 = 1u << 0;       // cgroup.freeze
inline constexpr std::uint32_t kControlFreezeV1 = 1u << 1;       // freezer.state
inline constexpr std::uint32_t kControlCpuV2 = 1u << 2;          // cpu.max
inline constexpr std::uint32_t kControlCpuV1 = 1u << 3;          // cpu.cfs_quota_us; the period is set already
inline constexpr std::uint32_t kControlMemoryPeak = 1u << 4;     // memory.peak or memory.max_usage_in_bytes
inline constexpr std::uint32_t kControlMemoryCurrent = 1u << 5;  // memory.current, where there is no peak
inline constexpr std::uint32_t kControlsAll = (1u << 6) - 1;

struct StartedBody {
  Outcome outcome;
  std::uint32_t took_us = 0;
  std::uint32_t controls = 0;
  std::uint32_t cpu_quota_us = 0;
  std::uint32_t cpu_period_us = 0;
  std::uint32_t sockets = 0;
  std::uint16_t listener = 0;        // 1: behind the sockets
  std::uint16_t calls_listener = 0;  // 1: the last
};
static_assert(sizeof(StartedBody) == 280 && std::is_trivially_copyable_v<StartedBody>);

struct SocketsBody {
  Outcome outcome;
  std::uint32_t sockets = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(SocketsBody) == 264 && std::is_trivially_copyable_v<SocketsBody>);

struct FrozenBody {
  Outcome outcome;
  std::uint64_t file_bytes = 0;
  std::uint64_t pages_bytes = 0;
  std::uint64_t held_us = 0;
  std::uint32_t threads = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(FrozenBody) == 288 && std::is_trivially_copyable_v<FrozenBody>);

struct ExitedBody {
  std::uint32_t reason = 0;
  std::int32_t code = 0;
};
static_assert(sizeof(ExitedBody) == 8 && std::is_trivially_copyable_v<ExitedBody>);

inline constexpr std::size_t kPendingBytesMax = kPendingCallsMax * (sizeof(PendingHead) + kPendingCallBytesMax);
inline constexpr std::size_t kRequestBytesMax =
    sizeof(Header) + std::max(sizeof(StartBody) + kArgumentsBytesMax, sizeof(FreezeBody) + kPendingBytesMax);
inline constexpr std::size_t kReplyBytesMax = sizeof(Header) + sizeof(FrozenBody);
inline constexpr std::size_t kRequestDescriptors = 2;  // of a start
inline constexpr std::size_t kRestoreDescriptors = 2;  // more, with restore
inline constexpr std::size_t kStartDescriptorsMax = kRequestDescriptors + 3 + kRestoreDescriptors;
inline constexpr std::size_t kReplyDescriptorsMax = kSocketsPerRequestMax + 8;

// What a request may ask for.
inline constexpr std::uint64_t kMemoryBytesMin = 4ULL << 20;
inline constexpr std::uint64_t kMemoryBytesMax = 1ULL << 42;
inline constexpr std::uint64_t kTmpBytesMin = 64ULL << 10;
inline constexpr std::uint64_t kTmpBytesMax = 1ULL << 42;
inline constexpr std::uint32_t kCpuMilliMax = 1'000'000;
inline constexpr std::uint32_t kPidsMin = 4;
inline constexpr std::uint32_t kPidsMax = 32768;
inline constexpr std::uint32_t kStringsMax = 8192;

// A checked start, without its descriptors.
struct StartRequest {
  std::uint64_t memory_bytes = 0;
  std::uint64_t tmp_bytes = 0;
  std::uint32_t cpu_milli = 0;
  std::uint32_t pids_max = 0;
  std::uint32_t sockets = 0;
  Engine engine = Engine::none;
  std::vector<std::string> argv;
  std::vector<std::string> environment;
  bool restore = false;
  bool model = false;
  bool runtime = false;
  bool layers = false;
  std::uint16_t runtime_api_port = 0;
  bool egress = false;
  std::uint16_t calls_port = 0;

  // Of folders beside the package: model, runtime, layers, in this order.
  std::size_t folders() const { return (model ? 1U : 0U) + (runtime ? 1U : 0U) + (layers ? 1U : 0U); }
  std::size_t descriptors() const { return kRequestDescriptors + folders() + (restore ? kRestoreDescriptors : 0); }
};

struct Request {
  MessageType type = MessageType::destroy;
  std::uint64_t serial = 0;
  std::uint64_t id = 0;
  StartRequest start;       // of start
  std::uint32_t count = 0;  // of make_sockets
  FreezeSpec freeze;        // of freeze; without its image
};

// Errors: invalid_argument with the field that is wrong. Never reads beyond bytes; allocates at most kArgumentsBytesMax
// and kStringsMax strings.
Result<Request> decode_request(std::span<const std::byte> bytes, std::size_t descriptor_count);

// The bytes of a start. Errors: invalid_argument when spec is out of the bounds that decode_request checks.
Result<std::string> encode_start(std::uint64_t serial, const EnvironmentSpec& spec);
std::string encode_make_sockets(std::uint64_t serial, std::uint64_t id, std::uint32_t count);
// Errors: too_large when more waits than kPendingCallsMax or kPendingCallBytesMax.
Result<std::string> encode_freeze(std::uint64_t serial, const FreezeSpec& spec);
std::string encode_destroy(std::uint64_t id);
std::string encode_terminate(std::uint64_t id);

struct Reply {
  MessageType type = MessageType::exited;
  std::uint64_t serial = 0;
  std::uint64_t id = 0;
  StartedBody started;  // of started, sockets_made (outcome, sockets) and ready (outcome)
  FrozenBody frozen;    // of frozen
  ExitedBody exited;    // of exited
};

// Errors: corrupt. The spawner is trusted; this guards against a build mismatch.
Result<Reply> decode_reply(std::span<const std::byte> bytes, std::size_t descriptor_count);

std::string encode_ready(const Outcome& outcome);
std::string encode_started(std::uint64_t serial, std::uint64_t id, const StartedBody& body);
std::string encode_sockets_made(std::uint64_t serial, std::uint64_t id, const SocketsBody& body);
std::string encode_frozen(std::uint64_t serial, std::uint64_t id, const FrozenBody& body);
std::string encode_exited(std::uint64_t id, const ExitedBody& body);

Outcome outcome_of(const Error& error);
// The error of an outcome whose status is not 0.
Error error_of(const Outcome& outcome);

}  // namespace thaw::sandbox::protocol
