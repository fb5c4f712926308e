// Nothing is left behind: whoever is killed, however it ends.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "fixture.h"

namespace thaw::sandbox {
namespace {

class Cleanup : public SpawnerFixture {
 protected:
  // Starts three functions, one of them frozen; all processes of it, the spawner's two first.
  std::vector<pid_t> populate() {
    for (int i = 0; i < 2; ++i) running_.push_back(start({"/bin/sh", "-c", "sleep 1000 & sleep 1000"}));
    running_.push_back(start({"/bin/sleep", "1000"}));
    EXPECT_TRUE(running_.back().started.controls->freeze().ok());
    std::vector<pid_t> pids{keeper_};
    for (std::size_t i = 0; i < pids.size(); ++i) {
      for (const pid_t child : children_of(pids[i])) pids.push_back(child);
    }
    EXPECT_GE(pids.size(), 2u + 7u);
    return pids;
  }

  static bool none_lives(const std::vector<pid_t>& pids) {
    for (const pid_t pid : pids) {
      std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
      std::string text;
      // A zombie is dead; who reaps it is its parent's matter.
      if (std::getline(stat, text) && text.find(") Z ") == std::string::npos) return false;
    }
    return true;
  }

  std::vector<Running> running_;
};

std::string mounts_of_host() {
  std::ifstream file("/proc/self/mountinfo");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST_F(Cleanup, ShutdownLeavesNothing) {
  const std::string mounts = mounts_of_host();
  const std::vector<pid_t> pids = populate();
  EXPECT_FALSE(cgroups_named(cgroup_name_).empty());
  EXPECT_EQ(mounts_of_host(), mounts);
  const Status ended = host_->shut_down(kPatience);
  EXPECT_TRUE(ended.ok()) << ended.error().message;
  EXPECT_TRUE(none_lives(pids));
  EXPECT_TRUE(cgroups_named(cgroup_name_).empty());
  EXPECT_EQ(mounts_of_host(), mounts);
}

TEST_F(Cleanup, KilledSpawnerTakesEverythingWithIt) {
  const std::vector<pid_t> pids = populate();
  ::kill(pids.at(1), SIGKILL);  // the child that works
  EXPECT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex_);
    return lost_;
  }));
  EXPECT_TRUE(host_->shut_down(kPatience).ok());
  EXPECT_TRUE(eventually([&] { return none_lives(pids); }));
  EXPECT_TRUE(cgroups_named(cgroup_name_).empty());
  // Requests are refused, not lost.
  const auto refused = try_start({"/bin/true"});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::unavailable);
}

TEST_F(Cleanup, KilledKeeperTakesEverythingWithIt) {
  const std::vector<pid_t> pids = populate();
  ::kill(keeper_, SIGKILL);
  EXPECT_TRUE(eventually([&] { return none_lives(pids); }));
  EXPECT_TRUE(eventually([&] { return cgroups_named(cgroup_name_).empty(); }));
}

TEST_F(Cleanup, BothKilledAreSweptByTheNextStart) {
  const std::vector<pid_t> pids = populate();
  ::kill(keeper_, SIGSTOP);  // so that it cannot clean up
  ::kill(pids.at(1), SIGKILL);
  ::kill(keeper_, SIGKILL);
  EXPECT_TRUE(eventually([&] { return none_lives(pids); }));
  EXPECT_FALSE(cgroups_named(cgroup_name_).empty());
  host_.reset();
  launch();
  EXPECT_EQ(run({"/bin/echo", "again"}), "again\n");
}

TEST_F(Cleanup, SignalsDoNotEndTheSpawner) {
  const std::vector<pid_t> pids = populate();
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    ::kill(pids.at(0), signal);
    ::kill(pids.at(1), signal);
  }
  EXPECT_EQ(run({"/bin/echo", "alive"}), "alive\n");
}

// The daemon is a process of its own here: it is killed with -9 while functions run.
TEST_F(Cleanup, KilledDaemonLeavesNothing) {
  const std::string name = cgroup_name_for(folder_ + "/other");
  auto said = sys::pipe();
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    SpawnerOptions options;
    options.spawner_path = THAW_BINARY_DIR "/bin/thaw-spawner";
    options.stub_path = THAW_BINARY_DIR "/bin/thaw-stub";
    options.cgroup_name = name;
    options.log_level = "warn";
    auto launched = launch_spawner(options);
    if (!launched.ok()) ::_exit(1);
    const pid_t keeper = launched->pid;
    SpawnerClient host(std::move(launched).value());
    auto pipe = sys::pipe();
    host.start(make_spec({"/bin/sleep", "1000"}, {}, std::move(pipe->write_end)), [&](Result<Started> started) {
      if (started.ok()) (void)sys::write_all(said->write_end, std::to_string(keeper));
    });
    ::pause();
  }
  said->write_end.reset();
  char text[32] = {};
  ASSERT_TRUE(sys::read_some(said->read_end, text).ok());
  const pid_t keeper = std::atoi(text);
  ASSERT_GT(keeper, 1);
  EXPECT_FALSE(cgroups_named(name).empty());
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  EXPECT_TRUE(eventually([&] { return none_lives({keeper}); }));
  EXPECT_TRUE(cgroups_named(name).empty());
}

TEST_F(Cleanup, DestroyDuringTheStartIsAnswered) {
  for (int i = 0; i < 20; ++i) {
    auto pipe = sys::pipe();
    EnvironmentSpec spec = make_spec({"/bin/sleep", "1000"}, {}, std::move(pipe->write_end));
    const std::uint64_t id = spec.id;
    std::mutex mutex;
    bool answered = false;
    bool started = false;
    host_->start(std::move(spec), [&](Result<Started> result) {
      const std::lock_guard lock(mutex);
      answered = true;
      started = result.ok();
    });
    host_->destroy(id);
    ASSERT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex);
      return answered;
    }));
    // Started environments get their exit; others were answered by the error.
    if (started) {
      EXPECT_EQ(wait_exit(id).reason, ExitReason::destroyed);
    }
  }
}

TEST_F(Cleanup, DescriptorsOfEndedEnvironmentsAreClosed) {
  const pid_t spawner = children_of(keeper_).at(0);
  const auto open_files = [&] {
    std::size_t count = 0;
    for (int fd = 0; fd < 4096; ++fd) {
      count += ::faccessat(AT_FDCWD, ("/proc/" + std::to_string(spawner) + "/fd/" + std::to_string(fd)).c_str(), F_OK,
                           AT_SYMLINK_NOFOLLOW) == 0;
    }
    return count;
  };
  run({"/bin/true"});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const std::size_t before = open_files();
  for (int i = 0; i < 20; ++i) run({"/bin/true"});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LE(open_files(), before + 4);
}

TEST_F(Cleanup, PackageThatIsNoFolderIsRefused) {
  auto pipe = sys::pipe();
  EnvironmentSpec spec = make_spec({"/bin/true"}, {}, std::move(pipe->write_end));
  spec.package = UniqueFd(::open((package_ + "/hello.txt").c_str(), O_PATH | O_CLOEXEC));
  bool answered = false;
  std::mutex mutex;
  host_->start(std::move(spec), [&](Result<Started> started) {
    const std::lock_guard lock(mutex);
    EXPECT_FALSE(started.ok());
    if (!started.ok()) {
      EXPECT_EQ(started.error().kind, ErrorKind::invalid_argument);
    }
    answered = true;
  });
  EXPECT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return answered;
  }));
  EXPECT_EQ(run({"/bin/echo", "next"}), "next\n");
}

}  // namespace
}  // namespace thaw::sandbox
