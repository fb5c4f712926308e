// Who is connected to whom among the unix sockets of a process's network namespace (sock_diag(7)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>

#include "base/result.h"

namespace thaw::snapshot {

// Inode of each connected unix socket to its peer's. Enters the network namespace of `pid` for the question and comes
// back. Errors: unsupported when this kernel does not answer.
Result<std::map<std::uint64_t, std::uint64_t>> unix_peers(pid_t pid);

}  // namespace thaw::snapshot
