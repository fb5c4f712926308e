// The server half's view of environments: it asks the spawner, the privileged process, to make and end them.
//
// The server half never names a path: it hands over descriptors, and gets descriptors back. What it may do with an
// environment afterwards without asking (freeze, thaw, throttle, read its memory figures) it does on descriptors of
// cgroup files that the spawner opened for it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::sandbox {

inline constexpr std::size_t kArgumentsBytesMax = 98304;  // argv and environment of one start, together
inline constexpr std::uint32_t kSocketsPerRequestMax = 64;
// Where a function finds its model, as SageMaker's containers do ("Use Your Own Inference Code with Hosting Services",
// Amazon SageMaker Developer Guide).
inline constexpr char kModelFolder[] = "/opt/ml/model";

// Which files /opt/thaw holds for a function: none, or those of the engines.
enum class Engine : std::uint8_t { none, installed };

struct EnvironmentSpec {
  // Chosen by the caller, never used twice while the spawner lives.
  std::uint64_t id = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t cpu_milli = 0;  // share once throttled; init is not throttled
  std::uint32_t pids_max = 1024;
  std::uint64_t tmp_bytes = 0;
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // "NAME=value", the whole environment of the function
  Engine engine = Engine::none;          // installed: the engines' folder is bound at /opt/thaw
  std::uint32_t sockets = 4;             // unconnected TCP sockets made in its network namespace at the start
  UniqueFd package;                      // O_PATH folder, bound read-only at /var/task
  UniqueFd model;                        // the same at kModelFolder; may be empty
  // TCP port on the environment's 127.0.0.1 where Lambda's Runtime API is served to the function: a socket listens
  // there before the function starts. 0: none.
  std::uint16_t runtime_api_port = 0;
  // The same for the calls that the function makes to other functions: another socket listens there.
  std::uint16_t calls_port = 0;
  // A way out of its network namespace, by slirp4netns: TCP, UDP and names, and nothing of the host's loopback. Not of
  // a restored function. Errors: unsupported where the program is not installed.
  bool egress = false;
  UniqueFd runtime;  // O_PATH folder, bound read-only at /var/runtime; may be empty
  UniqueFd layers;   // the same at /opt, in place of what is there: neither with an engine nor with a model
  UniqueFd output;   // write end of a pipe: the function's standard output and error
  // A snapshot to restore, as snapshot::load_image() has it in memory; argv and environment are then the snapshot's.
  UniqueFd image;
  UniqueFd working_set;  // beside the image: its working set, which the restore uses and may add to
};

// A call to the Runtime API that waits for its answer at a freeze. In a clone the connection is a fresh one to the
// clone's own Runtime API, and the call comes there again: nothing that the function has sent is lost.
struct PendingCall {
  std::uint16_t port = 0;  // the function's end of the connection
  std::string request;     // whole, as it goes over the wire; at most kPendingCallBytesMax
};
inline constexpr std::size_t kPendingCallsMax = 64;
inline constexpr std::size_t kPendingCallBytesMax = 4096;

struct FreezeSpec {
  std::uint64_t id = 0;  // the environment
  UniqueFd image;        // an empty writable file
  // A connection that is open refuses the freeze; otherwise it comes back as one that the peer has reset.
  bool strict_connections = false;
  // EnvironmentSpec::runtime_api_port: connections to it are opened anew in clones, those without a pending call, too.
  std::uint16_t runtime_api_port = 0;
  // EnvironmentSpec::calls_port: the same, and no call waits on them.
  std::uint16_t calls_port = 0;
  std::vector<PendingCall> pending;
};

// What a freeze has written.
struct Frozen {
  std::uint64_t file_bytes = 0;
  std::uint64_t pages_bytes = 0;
  std::chrono::microseconds held{0};  // for so long the function stood still
  std::uint32_t threads = 0;
};

enum class ExitReason : std::uint8_t { exited, signaled, out_of_memory, destroyed };

struct ExitInfo {
  std::uint64_t id = 0;
  ExitReason reason = ExitReason::exited;
  int code = 0;  // exit status or signal number
};

// Control over one started environment, by descriptors of its cgroup's files. Dropping it does not end the environment.
// Threads: not thread-safe; one user at a time.
class Controls {
 public:
  virtual ~Controls() = default;
  // Stops every process of the environment (cgroup v2's cgroup.freeze or the v1 freezer). Returns once asked for; the
  // kernel finishes within microseconds.
  virtual Status freeze() = 0;
  virtual Status thaw() = 0;
  // Holds the environment to its CPU share from now on (cpu.max or cpu.cfs_quota_us).
  virtual Status throttle() = 0;
  // Highest memory use so far, in bytes (memory.peak or memory.max_usage_in_bytes; where neither is there, the highest
  // memory.current seen by this call).
  virtual Result<std::uint64_t> memory_peak_bytes() = 0;
};

struct Started {
  std::unique_ptr<Controls> controls;
  // Unconnected, non-blocking AF_INET stream sockets inside the environment's network namespace.
  std::vector<UniqueFd> sockets;
  // Listens at EnvironmentSpec::runtime_api_port, non-blocking; invalid where none was asked for. Nobody else holds it:
  // who closes it ends the listening.
  UniqueFd listener;
  UniqueFd calls_listener;  // the same at EnvironmentSpec::calls_port
  // How long the spawner took to have the function's process running.
  std::chrono::microseconds took{0};
};

// Ownership: one per daemon; owns the connection to the spawner.
// Threads: every method may be called from any thread; callbacks run on the client's own thread and must not block.
// Errors: when the spawner dies, on_spawner_lost runs once, and then every pending callback gets `unavailable`.
class EnvironmentHost {
 public:
  virtual ~EnvironmentHost() = default;
  virtual void start(EnvironmentSpec spec, std::function<void(Result<Started>)> done) = 0;
  // More unconnected sockets of a started environment.
  virtual void make_sockets(std::uint64_t id, std::uint32_t count,
                            std::function<void(Result<std::vector<UniqueFd>>)> done) = 0;
  // Writes the snapshot of the environment's function; the function goes on. The environment must not be frozen by its
  // Controls meanwhile. Errors: unsupported with what cannot be frozen; not_found; timeout after
  // SpawnerOptions::freeze_s, when the function may have ended with its freeze.
  virtual void freeze(FreezeSpec spec, std::function<void(Result<Frozen>)> done) = 0;
  // Ends every process of the environment and clears what it was made of. on_exit follows, with reason destroyed.
  // Unknown ids are ignored: the environment may have ended by itself.
  virtual void destroy(std::uint64_t id) = 0;
  // SIGTERM to the environment's function, which may end by it. Unknown ids are ignored.
  virtual void terminate(std::uint64_t id) = 0;
  // Set once, before the first start. on_exit runs once for every started environment, after everything it was made of
  // (cgroup, mounts) is gone.
  virtual void set_on_exit(std::function<void(ExitInfo)> on_exit) = 0;
};

}  // namespace thaw::sandbox
