// What Lambda calls the end of a runtime.
#pragma once

#include <string>

#include "sandbox/sandbox.h"

namespace thaw::invoke {

// "Runtime.ExitError" or "Runtime.OutOfMemory".
const char* exit_type(const sandbox::ExitInfo& exit);
// "Runtime exited with error: exit status 1": what stands behind "RequestId: … Error: ".
std::string exit_text(const sandbox::ExitInfo& exit);

}  // namespace thaw::invoke
