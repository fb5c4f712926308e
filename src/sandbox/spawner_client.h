// The server half's end of the connection to the spawner.
//
//   ASSIGN_OR_RETURN(LaunchedSpawner launched, launch_spawner(options));   // first of all, with one thread
//   ... give up privileges ...
//   SpawnerClient host(std::move(launched));
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "sandbox/sandbox.h"
#include "sandbox/spawner_options.h"

namespace thaw::sandbox {

struct LaunchedSpawner {
  UniqueFd socket;
  pid_t pid = -1;  // of the keeper, the spawner's parent: it ends after everything has been cleared up
};

// Forks and executes thaw-spawner in a session of its own and waits until it is ready (at most 20 s). Call it as root,
// while the process has one thread. Errors: `unsupported` with what this machine lacks; `unavailable`.
Result<LaunchedSpawner> launch_spawner(const SpawnerOptions& options);

// Requests that may wait for their answers; one more is refused with `overloaded`.
inline constexpr std::size_t kPendingMax = 8192;

// Ownership: owns the socket and one reading thread; borrows nothing.
// Threads: see EnvironmentHost. Callbacks run on the reading thread, or, for a request that cannot be sent, on the
// calling one. Destroying it closes the socket, which ends every environment, and joins; no callback runs afterwards
// (pending ones are told `unavailable`).
class SpawnerClient final : public EnvironmentHost {
 public:
  explicit SpawnerClient(LaunchedSpawner launched);
  ~SpawnerClient() override;
  SpawnerClient(const SpawnerClient&) = delete;
  SpawnerClient& operator=(const SpawnerClient&) = delete;

  void start(EnvironmentSpec spec, std::function<void(Result<Started>)> done) override;
  void make_sockets(std::uint64_t id, std::uint32_t count,
                    std::function<void(Result<std::vector<UniqueFd>>)> done) override;
  void freeze(FreezeSpec spec, std::function<void(Result<Frozen>)> done) override;
  void destroy(std::uint64_t id) override;
  void terminate(std::uint64_t id) override;
  void set_on_exit(std::function<void(ExitInfo)> on_exit) override;
  // Runs once if the spawner ends before it is told to, also when it has ended already; before anything that is pending
  // fails. Set it before the first start.
  void set_on_spawner_lost(std::function<void()> on_spawner_lost);

  // Closes the connection: the spawner ends every environment, removes what they were made of, and ends. Waits for
  // that, at most wait_max. Errors: `timeout`. Afterwards every request is refused. Not from a callback.
  Status shut_down(std::chrono::milliseconds wait_max);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace thaw::sandbox
