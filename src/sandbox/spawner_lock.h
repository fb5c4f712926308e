// One spawner at a time makes and removes the groups of a name: a daemon that is started again at once would otherwise
// have its new groups taken away by the spawner of the old one, which is still clearing up.
#pragma once

#include <chrono>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::sandbox {

// Held until this process ends or the descriptor is closed; a child of the process does not hold it (fcntl(2), record
// locks), however its descriptors came to it. Errors: unavailable when another process holds it for all of wait_max;
// not_found and the like when /run cannot be written.
Result<UniqueFd> lock_spawner(std::string_view cgroup_name, std::chrono::milliseconds wait_max);

}  // namespace thaw::sandbox
