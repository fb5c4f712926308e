// How a fresh process becomes an environment.
//
// The spawner clones a process that is PID 1 of a new PID namespace. That process, still with all privileges, makes the
// rest of its environment around itself, in two halves:
//
//   prepare   groups, namespaces, network, the file tree: what is alike for every function. It then waits on its report
//             socket. Preparing ahead keeps the slow part (joining cgroup v1 hierarchies: milliseconds) out of a start.
//   finish    once told what to run: limits, /tmp, the package, sockets; it gives its privileges up and becomes the
//   stub
//             by execve.
//
// So one process is worker and PID 1 at once, its parent is the spawner, and a slow start holds up nobody else.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "sandbox/cgroup.h"
#include "sandbox/process_images.h"
#include "sandbox/protocol.h"

namespace thaw::sandbox {

// Steps of a start, in order; a failure names its step, a success the time of each.
enum class SetupStep : std::uint32_t {
  cgroup,      // prepare: make the groups and join them
  namespaces,  // enter the template's tree, take private copies
  network,     // loopback
  proc,        // /proc and what covers parts of it
  wait,        // until told what to run
  limits,      // finish: memory, number of processes
  mounts,      // /tmp, /dev/shm, /var/task, engine
  sockets,
  privileges,  // user, capabilities, resource limits, seccomp
  stub,        // execve of the stub
};
inline constexpr std::size_t kSetupSteps = 10;
const char* to_string(SetupStep step);

// What the process says on its report socket before it becomes the stub (stub_report.h says what follows).
inline constexpr std::uint32_t kReportPrepared = 0x7001;  // with the network namespace; it waits
inline constexpr std::uint32_t kReportFinished = 0x7002;  // with the sockets; execve of the stub follows
inline constexpr std::uint32_t kReportFailed = 0x7003;
// This number, then a message for the pager. Descriptors: a userfaultfd, the working set.
inline constexpr std::uint32_t kReportMemory = 0x7004;
struct SetupReport {
  std::uint32_t kind = 0;
  SetupStep step = SetupStep::cgroup;
  std::uint32_t step_us[kSetupSteps] = {};
  // Of a failure; both texts end with a NUL. Only a restore that fails has a code: then the kind says whether the image
  // is to blame. Whatever else fails does so for every function, and is `internal`.
  std::uint32_t error_kind = static_cast<std::uint32_t>(ErrorKind::internal);
  char code[32] = {};
  char text[216] = {};
};
static_assert(sizeof(SetupReport) != kFailedStepBytes, "the spawner tells them apart by their size");
// The error of a report that says failed; what it holds is checked.
Error error_of(SetupReport report);
// The same of the bytes that a restore leaves when it fails after there is no way back.
Error error_of_failed_step(std::span<const std::byte, kFailedStepBytes> step);

// What the spawner sends to a process that waits: the bytes of the start request, as decode_request has accepted them,
// with these descriptors. The folders are detached mounts (clone_read_only). Behind these come, each where there is
// one, the model, the runtime, the layers, the image with its working set, the engine, and the read end of a pipe that
// says when the egress is there.
inline constexpr std::size_t kGoPackage = 0;
inline constexpr std::size_t kGoOutput = 1;

// Everything is borrowed: the process is a copy of the spawner and ends in execve or _exit.
struct SetupPlan {
  const CgroupTree& cgroups;
  const std::string& group;
  const std::vector<sock_filter>& filter;
  const UniqueFd& template_root;  // mount namespace
  const UniqueFd& report;
  uid_t uid = 0;
  ProcessImages& images;
};

// Runs in the new process. Never returns.
[[noreturn]] void become_environment(const SetupPlan& plan);

// A detached read-only, nosuid, nodev mount of a folder. The folder must be mounted in the calling process's namespace.
Result<UniqueFd> clone_read_only(const UniqueFd& folder);

// A non-blocking TCP socket that listens on 127.0.0.1:port in the calling thread's network namespace.
Result<UniqueFd> listen_on_loopback(std::uint16_t port);

// Unconnected, non-blocking TCP sockets in the calling thread's network namespace, TCP_NODELAY set.
Result<std::vector<UniqueFd>> make_tcp_sockets(std::uint32_t count);

}  // namespace thaw::sandbox
