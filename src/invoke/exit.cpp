#include "invoke/exit.h"

#include <cctype>
#include <cstring>

namespace thaw::invoke {

const char* exit_type(const sandbox::ExitInfo& exit) {
  return exit.reason == sandbox::ExitReason::out_of_memory ? "Runtime.OutOfMemory" : "Runtime.ExitError";
}

std::string exit_text(const sandbox::ExitInfo& exit) {
  if (exit.reason == sandbox::ExitReason::out_of_memory) return "Runtime exited with error: signal: killed";
  if (exit.reason == sandbox::ExitReason::signaled) {
    std::string name = ::strsignal(exit.code);
    if (!name.empty()) name[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(name[0])));
    return "Runtime exited with error: signal: " + name;
  }
  if (exit.code == 0) return "Runtime exited without providing a reason";
  return "Runtime exited with error: exit status " + std::to_string(exit.code);
}

}  // namespace thaw::invoke
