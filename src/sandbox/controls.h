// Freeze, thaw, throttle and memory figures of one environment, on the cgroup files that the spawner opened.
#pragma once

#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "sandbox/protocol.h"
#include "sandbox/sandbox.h"

namespace thaw::sandbox {

// files: as many as body.controls has bits, in the order of the bits.
std::unique_ptr<Controls> make_controls(const protocol::StartedBody& body, std::vector<UniqueFd> files);

}  // namespace thaw::sandbox
