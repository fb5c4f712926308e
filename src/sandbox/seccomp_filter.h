// The system calls that a function may not make.
//
// A deny-list: every call that works for an ordinary program without privileges is allowed, what changes the machine,
// reaches other namespaces or is a wide kernel surface is refused. docs/sandbox.md lists them with reasons.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "base/result.h"

namespace thaw::sandbox {

// The program, compiled once: installing it costs microseconds, compiling it milliseconds.
Result<std::vector<sock_filter>> compile_seccomp_filter();

// For the calling thread and all that it starts. Needs PR_SET_NO_NEW_PRIVS or CAP_SYS_ADMIN.
Status install_seccomp_filter(const std::vector<sock_filter>& filter);

}  // namespace thaw::sandbox
