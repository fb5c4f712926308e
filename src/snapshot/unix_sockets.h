// What the kernel knows of the unix sockets in a process's network namespace (sock_diag(7)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>

#include "base/result.h"

namespace thaw::snapshot {

struct UnixSocket {
  bool has_peer = false;
  std::uint64_t peer = 0;      // its inode; 0 when it is closed
  std::uint32_t shutdown = 0;  // 1: receives no more, 2: sends no more
  // Of one that listens: connections that wait, and how many may. Of others: bytes that wait.
  std::uint32_t waiting = 0;
  std::uint32_t backlog = 0;
  std::uint32_t node_inode = 0;  // lower half of the inode of its name in a file system; 0: none
};

// By inode. Enters the network namespace of `pid` for the question and comes back. Errors: unsupported when this kernel
// does not answer.
Result<std::map<std::uint64_t, UnixSocket>> unix_sockets(pid_t pid);

}  // namespace thaw::snapshot
