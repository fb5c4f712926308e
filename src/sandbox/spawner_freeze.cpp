// Freezing an environment's function: in a process of its own, so that a long freeze delays no start.
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "base/log.h"
#include "base/sys.h"
#include "sandbox/spawner.h"

namespace thaw::sandbox {
namespace {

constexpr std::size_t kFreezesMax = 4;
constexpr std::size_t kChildrenBytesMax = 4096;
// What even a slow disk takes in a second; a freeze gets the time for all memory that its function may have.
constexpr std::uint64_t kBytesASecondMin = 100'000'000;

protocol::FrozenBody body_of(const Result<Frozen>& outcome) {
  protocol::FrozenBody body;
  if (!outcome.ok()) {
    body.outcome = protocol::outcome_of(outcome.error());
    return body;
  }
  body.file_bytes = outcome->file_bytes;
  body.pages_bytes = outcome->pages_bytes;
  body.held_us = static_cast<std::uint64_t>(outcome->held.count());
  body.threads = outcome->threads;
  return body;
}

// PID 1's first child is the function; what else PID 1 has are orphans that it reaps.
Result<pid_t> function_of(pid_t stub) {
  const std::string name = std::to_string(stub);
  ASSIGN_OR_RETURN(const std::string children,
                   sys::read_file("/proc/" + name + "/task/" + name + "/children", kChildrenBytesMax));
  char* end = nullptr;
  const long pid = std::strtol(children.c_str(), &end, 10);
  if (pid <= 0) return Error{ErrorKind::not_found, "the environment has ended"};
  while (*end == ' ') ++end;
  if (*end != '\0') return Error{ErrorKind::unsupported, "the function has left processes behind that still run"};
  return static_cast<pid_t>(pid);
}

}  // namespace

void Spawner::answer_frozen(const Freeze& freeze, const Result<Frozen>& outcome) {
  send(protocol::encode_frozen(freeze.serial, freeze.id, body_of(outcome)), {});
}

void Spawner::freeze(const protocol::Request& request, const UniqueFd& image) {
  const auto worker = launch_freeze(request, image);
  if (!worker.ok()) return answer_frozen({.serial = request.serial, .id = request.id, .deadline = {}}, worker.error());
  const Environment& environment = *live_.at(slot_of_id_.at(request.id));
  const std::chrono::seconds allowed(options_.freeze_s + environment.memory_bytes / kBytesASecondMin);
  freezes_[*worker] = {.serial = request.serial, .id = request.id, .deadline = Clock::now() + allowed};
}

void Spawner::end_overdue_freezes(Clock::time_point now) {
  for (auto& [pid, freeze] : freezes_) {
    if (freeze.overdue || freeze.deadline > now) continue;
    freeze.overdue = true;
    ::kill(pid, SIGKILL);
    answer_frozen(freeze, Error{ErrorKind::timeout, "the freeze took too long and was ended"});
  }
}

Result<pid_t> Spawner::launch_freeze(const protocol::Request& request, const UniqueFd& image) {
  const auto found = slot_of_id_.find(request.id);
  if (found == slot_of_id_.end() || live_.at(found->second)->state != State::running)
    return Error{ErrorKind::not_found, "the environment has ended"};
  if (freezes_.size() >= kFreezesMax) return Error{ErrorKind::overloaded, "too many freezes at a time"};
  struct stat info;
  if (::fstat(image.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size != 0)
    return invalid_argument("spawner request: the image is not an empty file");
  const Environment& environment = *live_.at(found->second);
  ASSIGN_OR_RETURN(const pid_t function, function_of(environment.pid));

  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  const long worker = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (worker < 0) return sys::errno_error("clone3");
  if (worker > 0) return static_cast<pid_t>(worker);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto outcome =
      images_.freeze({.pid = function, .output_pipe = environment.output_pipe, .spec = request.freeze, .image = image});
  const Status sent =
      send_message(socket_, protocol::encode_frozen(request.serial, request.id, body_of(outcome)), {}, Wait::yes);
  ::_exit(sent.ok() ? 0 : 1);
}

}  // namespace thaw::sandbox
