// What a function's process is started with: its argv, its environment variables, its bounds.
#pragma once

#include "model/function.h"
#include "sandbox/sandbox.h"

namespace thaw::pool {

// Everything of the spec that follows from the record; id, sockets and descriptors are the caller's.
sandbox::EnvironmentSpec start_spec(const model::FunctionRecord& record);

}  // namespace thaw::pool
