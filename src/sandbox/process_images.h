// What the spawner needs of the snapshot engine. src/snapshot implements it; apps/thaw-spawner wires it in.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "sandbox/sandbox.h"

namespace thaw::sandbox {

struct ImageFreeze {
  pid_t pid = -1;                 // as the caller sees it
  std::uint64_t output_pipe = 0;  // the inode of the pipe that carries the function's output
  const FreezeSpec& spec;         // its image is not the file: that is
  const UniqueFd& image;
};

struct ImageRestore {
  const UniqueFd& image;  // in memory, as EnvironmentSpec::image
  // Gives the userfaultfd of the process's memory to the pager, with a message for it.
  std::function<Status(const UniqueFd& userfault, std::string_view message)> share_memory;
  const UniqueFd& output;
  // Gets `running` in one write when the function is about to go on; or the bytes of failed(); or, when a step fails
  // after there is no way back, kFailedStepBytes bytes of it.
  const UniqueFd& report;
  std::string running;
  std::function<std::string(const Error&)> failed;
  uid_t user = 0;
  std::span<const sock_filter> filter;
};
inline constexpr std::size_t kFailedStepBytes = 64;
inline constexpr std::size_t kMemoryDescriptors = 3;  // beside it: the userfaultfd, the working set, the image
inline constexpr std::size_t kMemoryMessageBytesMax = 128 * 1024;  // of ImageRestore::share_memory

// Threads: the spawner's one. Each call is made in a process of its own.
class ProcessImages {
 public:
  virtual ~ProcessImages() = default;
  // The process goes on afterwards. Errors: unsupported with the name of what cannot be frozen.
  virtual Result<Frozen> freeze(const ImageFreeze& freeze) = 0;
  // The calling process becomes the function; see src/snapshot/restore.h.
  [[noreturn]] virtual void become(const ImageRestore& restore) = 0;
  // The calling process serves the page faults of restored functions until the other end of `control`, a
  // SOCK_SEQPACKET socket, is closed: there come the messages of ImageRestore::share_memory. It needs no privileges.
  [[noreturn]] virtual void serve_faults(UniqueFd control) = 0;
};

}  // namespace thaw::sandbox
