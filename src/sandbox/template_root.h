// The file tree that every environment sees, built once.
//
// Building a root from an allow-list takes dozens of mounts. It is done once, in a mount namespace of its own, whose
// root is a small read-only tmpfs; an environment enters that namespace, takes a private copy of it (unshare(2)), and
// adds only what is its own: /proc, /tmp, /dev/shm, /var/task and the engine. Nothing is ever mounted in the machine's
// own namespace, so there is nothing to clear up there after a crash.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::sandbox {

struct TemplateOptions {
  UniqueFd stub;       // the program thaw-stub, copied to kStubPath
  uid_t uid_base = 0;  // /etc/passwd names uid_base ... uid_base + slots_max - 1
  std::uint32_t slots_max = 0;
};

inline constexpr const char* kStubPath = "/thaw-stub";
inline constexpr const char* kHostName = "function";

// The mount namespace that holds the tree; it lives as long as the descriptor. Needs CAP_SYS_ADMIN. Forks once.
Result<UniqueFd> build_template_root(const TemplateOptions& options);

}  // namespace thaw::sandbox
