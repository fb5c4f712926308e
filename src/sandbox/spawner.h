// The privileged half: makes environments, watches over them, and clears up after them.
//
// One thread and one loop over epoll. Nothing in the loop waits: what takes long happens in the process that becomes
// the environment (environment_setup.h). It lives as long as the server half holds the other end of the socket; when
// that closes, every environment is ended, every group removed, and run() returns.
//
// Ownership: owns its environments and their groups. Threads: exactly one in the process (it clones raw).
// Errors: a request that is not understood is answered where it can be, logged and dropped; the spawner goes on.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "sandbox/cgroup.h"
#include "sandbox/environment_setup.h"
#include "sandbox/message_socket.h"
#include "sandbox/process_images.h"
#include "sandbox/protocol.h"
#include "sandbox/spawner_options.h"

namespace thaw::sandbox {

class Spawner {
 public:
  // Sweeps what an earlier daemon of the same cgroup name left, builds the template tree, compiles the filter.
  // parent_gone: the signal that tells it to end as if the socket had closed; blocked by the caller.
  static Result<std::unique_ptr<Spawner>> create(const SpawnerOptions& options, ProcessImages& images, UniqueFd socket,
                                                 int parent_gone);

  // Says ready, serves, and returns once everything has been ended and removed.
  void run();

 private:
  using Clock = std::chrono::steady_clock;
  // preparing and prepared have no id yet: no request is theirs.
  enum class State : std::uint8_t { preparing, prepared, starting, running, ending, clearing };

  struct Environment {
    std::uint32_t slot = 0;
    State state = State::preparing;
    std::string group;
    pid_t pid = -1;
    UniqueFd process;  // pidfd
    UniqueFd report;
    UniqueFd network;
    UniqueFd memory;  // userfaultfd of a restored function: held, so that no fault goes unserved when the pager dies
    Clock::time_point look_again;  // deadline of preparing and starting; next try of clearing
    Clock::time_point clearing_ends;

    std::optional<std::uint64_t> id;
    std::uint64_t serial = 0;  // of the start
    Clock::time_point began;
    std::uint32_t cpu_milli = 0;
    std::uint64_t memory_bytes = 0;
    std::vector<UniqueFd> sockets;
    // Listeners that come behind the sockets.
    bool listens = false;
    bool listens_for_calls = false;
    UniqueFd egress_ready;   // of a start with egress, until the process that gives it has it
    pid_t egress = -1;       // that process
    bool answered = false;   // the start
    bool destroyed = false;  // by request
    std::optional<Error> failure;
    std::optional<int> wait_status;  // of the function, or of PID 1 when that did not tell
    std::uint64_t oom_kills = 0;
    std::uint64_t output_pipe = 0;  // its inode
    SetupReport setup;
  };

  struct Outgoing {
    std::string bytes;
    std::vector<UniqueFd> fds;
  };

  // A freeze, in a process of its own, which answers by itself unless it dies or takes too long.
  struct Freeze {
    std::uint64_t serial = 0;
    std::uint64_t id = 0;
    Clock::time_point deadline;
    bool overdue = false;  // answered and killed; kept until it has ended, which it may be slow to do
  };

  Spawner(const SpawnerOptions& options, ProcessImages& images) : options_(options), images_(images) {}

  Status watch(const UniqueFd& fd, std::uint64_t token, std::uint32_t events);
  void handle_event(std::uint64_t token, std::uint32_t events);

  // Requests.
  void read_requests();
  void handle(const protocol::Request& request, std::string_view bytes, std::vector<UniqueFd> fds);
  void start(const protocol::Request& request, std::string_view bytes, std::vector<UniqueFd> fds);
  Status assign(const protocol::Request& request, std::string_view bytes, std::span<const UniqueFd> fds);
  // A prepared environment; else one that is being prepared; else a new one.
  Result<Environment*> choose();
  // Clones the process of a new environment.
  Result<Environment*> launch();
  // Prepares ahead, a few at a time: as many as the options say, or as the last burst of starts took.
  void refill();
  void note_start(Clock::time_point now);
  std::size_t prepared_wanted(Clock::time_point now) const;
  void end_surplus(std::size_t count);
  void make_sockets(const protocol::Request& request);
  void freeze(const protocol::Request& request, const UniqueFd& image);
  Result<pid_t> launch_freeze(const protocol::Request& request, const UniqueFd& image);
  void answer_frozen(const Freeze& freeze, const Result<Frozen>& outcome);
  // A function that is held at that moment ends with its freeze (PTRACE_O_EXITKILL).
  void end_overdue_freezes(Clock::time_point now);
  Result<std::vector<UniqueFd>> sockets_in(const UniqueFd& network, std::uint32_t count);

  // The pager: a process without privileges that serves the page faults of restored functions.
  Status launch_pager();
  void share_memory(Environment& environment, std::span<const std::byte> message, std::vector<UniqueFd> fds);
  void pager_gone();

  // The way out of an environment's network, by a process of its own (spawner_egress.cpp).
  Status launch_egress(Environment& environment);
  void end_egress(Environment& environment);
  bool egress_gone(pid_t pid);

  // What environments report.
  void read_reports(Environment& environment);
  void handle_report(Environment& environment, std::span<const std::byte> bytes, std::vector<UniqueFd> fds);
  void answer_started(Environment& environment);

  // Ends.
  void end(Environment& environment);
  void reap();
  void clear(Environment& environment);
  void answer_ended(const Environment& environment);
  void fail_start(std::uint64_t serial, std::uint64_t id, const Error& error);
  void shut_down(const char* why);
  static bool is_timed(const Environment& environment);
  int next_wait_ms() const;
  void run_due();

  void send(std::string bytes, std::vector<UniqueFd> fds);
  void flush();

  const SpawnerOptions options_;
  ProcessImages& images_;
  UniqueFd socket_;
  UniqueFd epoll_;
  UniqueFd signals_;
  UniqueFd template_root_;
  UniqueFd engine_;
  UniqueFd own_network_;
  UniqueFd lock_;  // before cgroups_: they are nobody else's
  std::optional<CgroupTree> cgroups_;
  std::vector<sock_filter> filter_;
  std::vector<std::byte> buffer_;
  std::vector<std::byte> report_buffer_;
  pid_t pager_ = -1;
  UniqueFd pager_socket_;

  std::map<std::uint32_t, std::unique_ptr<Environment>> live_;  // by slot
  std::deque<std::uint32_t> free_slots_;  // the one longest unused comes first: user ids are not reused at once
  std::unordered_map<std::uint64_t, std::uint32_t> slot_of_id_;
  std::unordered_map<pid_t, std::uint32_t> slot_of_pid_;
  std::unordered_map<pid_t, Freeze> freezes_;
  std::unordered_map<pid_t, std::uint32_t> slot_of_egress_;
  // Bounded by the requests that the client may have open and the environments that there can be.
  std::deque<Outgoing> outgoing_;
  Clock::time_point refill_not_before_;
  // The most starts at the same time, of late.
  std::uint32_t burst_ = 0;
  Clock::time_point burst_forgotten_at_;
  bool closing_ = false;
};

// Kills and removes what is left of a daemon's groups. For the process that outlives the spawner.
void sweep_cgroups(const std::string& cgroup_name);

}  // namespace thaw::sandbox
