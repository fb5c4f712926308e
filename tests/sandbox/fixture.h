// One real spawner and what tests do with it: start environments, wait for their ends, read their output.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/sys.h"
#include "sandbox/sandbox.h"
#include "sandbox/spawner_client.h"

namespace thaw::sandbox {

inline constexpr std::chrono::seconds kPatience{60};
inline constexpr int kLineWaitMs = 60'000;  // for what a function says next

struct Running {
  std::uint64_t id = 0;
  Started started;
  UniqueFd output;  // read end
};

struct StartOptions {
  std::uint64_t memory_bytes = 256ULL << 20;
  std::uint64_t tmp_bytes = 8ULL << 20;
  std::uint32_t cpu_milli = 1000;
  std::uint32_t pids_max = 64;
  std::uint32_t sockets = 1;
  std::vector<std::string> environment = {"GREETING=hello"};
};

class SpawnerFixture : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  void launch();
  EnvironmentSpec make_spec(const std::vector<std::string>& argv, const StartOptions& options, UniqueFd output);
  // Fails the test when the environment does not start.
  Running start(const std::vector<std::string>& argv, const StartOptions& options = {});
  Result<Running> try_start(const std::vector<std::string>& argv, const StartOptions& options = {});
  ExitInfo wait_exit(std::uint64_t id);
  // Everything it wrote until it closed its output.
  static std::string read_all(const Running& running);
  // Runs to the end; its output. Sets exit_ of the last one.
  std::string run(const std::vector<std::string>& argv, const StartOptions& options = {});
  std::string run_python(const std::string& code, const StartOptions& options = {}) {
    return run({"/usr/bin/python3", "-c", code}, options);
  }
  // The processes of environments that run a function, as the host sees them, PID 1 first.
  std::vector<pid_t> host_processes() const;

  std::string folder_;   // below /tmp, mode 0700
  std::string package_;  // in it
  std::unique_ptr<SpawnerClient> host_;
  pid_t keeper_ = -1;
  std::string cgroup_name_;
  std::uint32_t freeze_s_ = kFreezeSecondsDefault;                // of the next launch()
  std::string egress_program_ = SpawnerOptions().egress_program;  // the same
  ExitInfo exit_;
  std::uint64_t id_next_ = 1;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, ExitInfo> exits_;
  bool lost_ = false;
};

// Folders of the name anywhere below /sys/fs/cgroup.
std::vector<std::string> cgroups_named(const std::string& name);
// Children of a process, by /proc.
std::vector<pid_t> children_of(pid_t pid);
bool exists(pid_t pid);
// Microseconds of CPU time that a process has used.
std::uint64_t cpu_time_us(pid_t pid);
// Connects a handed-over socket to 127.0.0.1:port inside; waits for a server to come up.
Status connect_within(const UniqueFd& socket, std::uint16_t port, std::chrono::milliseconds wait_max);
// Tries until it holds or kPatience is over.
template <class Predicate>
bool eventually(Predicate predicate) {
  const auto ends = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < ends) {
    if (predicate()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return predicate();
}

}  // namespace thaw::sandbox
