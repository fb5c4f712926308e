// Snapshots while something is killed or an image changes: every request is answered, and the next one works.
//
// Moments are random, from a seed; THAW_FAULT_ROUNDS asks for more of them.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <future>
#include <random>

#include "fixture.h"
#include "snapshot/image_file.h"
#include "snapshot/image_memory.h"

namespace thaw::sandbox {
namespace {

using std::chrono::microseconds;

int rounds() {
  const char* wanted = std::getenv("THAW_FAULT_ROUNDS");
  return wanted != nullptr ? std::atoi(wanted) : 3;
}

// In the PID namespace of the test, as the spawner's own helpers are; environments have one of their own.
bool in_own_namespace(pid_t pid) {
  const auto name_of = [](const std::string& path) {
    std::array<char, 64> name{};
    const ssize_t size = ::readlink(path.c_str(), name.data(), name.size() - 1);
    return std::string(name.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  };
  const std::string own = name_of("/proc/self/ns/pid");
  return name_of("/proc/" + std::to_string(pid) + "/ns/pid") == own;
}

std::string program_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

// The next line within the time; empty when its output has ended.
std::string line(const Running& running) {
  std::string text;
  for (char byte = 0;;) {
    pollfd ready{running.output.get(), POLLIN, 0};
    if (::poll(&ready, 1, kLineWaitMs) != 1) return text + "(no line)";
    if (::read(running.output.get(), &byte, 1) != 1) return "";
    if (byte == '\n') return text;
    text += byte;
  }
}

class SnapshotFaultTest : public SpawnerFixture {
 protected:
  static UniqueFd new_file() { return UniqueFd(::memfd_create("snapshot", MFD_CLOEXEC)); }

  std::future<Result<Frozen>> begin_freeze(std::uint64_t id, const UniqueFd& image) {
    auto promise = std::make_shared<std::promise<Result<Frozen>>>();
    FreezeSpec spec;
    spec.id = id;
    spec.image = std::move(sys::duplicate(image)).value();
    host_->freeze(std::move(spec), [promise](Result<Frozen> frozen) { promise->set_value(std::move(frozen)); });
    return promise->get_future();
  }

  struct Coming {
    Running running;
    std::future<Result<Started>> started;
  };

  Coming begin_start(const std::vector<std::string>& argv, const snapshot::ImageMemory& memory, Engine engine) {
    auto pipe = sys::pipe();
    EnvironmentSpec spec = make_spec(argv, {}, std::move(pipe->write_end));
    spec.engine = engine;
    if (memory.pages.valid()) {
      spec.image = std::move(sys::duplicate(memory.pages)).value();
      spec.working_set = std::move(sys::duplicate(memory.working_set)).value();
    }
    Coming coming;
    coming.running.id = spec.id;
    coming.running.output = std::move(pipe->read_end);
    auto promise = std::make_shared<std::promise<Result<Started>>>();
    coming.started = promise->get_future();
    host_->start(std::move(spec), [promise](Result<Started> started) { promise->set_value(std::move(started)); });
    return coming;
  }

  Coming begin_thaw(const snapshot::ImageMemory& memory) { return begin_start({"-"}, memory, Engine::installed); }

  static snapshot::ImageMemory loaded(const UniqueFd& image) {
    auto memory = snapshot::load_image(image);
    EXPECT_TRUE(memory.ok()) << memory.error().message;
    return memory.ok() ? std::move(memory).value() : snapshot::ImageMemory{};
  }

  Running start_busy() {
    Coming coming = begin_start({"/opt/thaw/busy_subject", "1"}, snapshot::ImageMemory(), Engine::installed);
    EXPECT_EQ(coming.started.wait_for(kPatience), std::future_status::ready);
    auto started = coming.started.get();
    EXPECT_TRUE(started.ok()) << started.error().message;
    if (started.ok()) coming.running.started = std::move(started).value();
    EXPECT_EQ(line(coming.running), "ok 0");
    return std::move(coming.running);
  }

  // An image of the busy subject, which has ended.
  UniqueFd busy_image() {
    const Running original = start_busy();
    UniqueFd image = new_file();
    auto frozen = begin_freeze(original.id, image);
    EXPECT_EQ(frozen.wait_for(kPatience), std::future_status::ready);
    const auto outcome = frozen.get();
    EXPECT_TRUE(outcome.ok()) << outcome.error().message;
    host_->destroy(original.id);
    wait_exit(original.id);
    return image;
  }

  pid_t spawner() const { return children_of(keeper_).at(0); }

  // The process that freezes, once it is there; -1 when the freeze was over before it was seen.
  pid_t freeze_worker(const std::future<Result<Frozen>>& frozen) const {
    while (frozen.wait_for(microseconds(0)) != std::future_status::ready) {
      for (const pid_t child : children_of(spawner())) {
        if (in_own_namespace(child) && program_of(child) != "thaw-pager") return child;
      }
    }
    return -1;
  }

  // The function of the only environment that runs one, as the host sees it.
  pid_t function_of(const Running& /*running*/) const {
    const std::vector<pid_t> processes = host_processes();
    return processes.size() < 2 ? -1 : processes[1];
  }

  static bool is_traced(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    for (std::string text; std::getline(file, text);) {
      if (text.starts_with("TracerPid:")) return text.find_first_of("123456789") != std::string::npos;
    }
    return false;
  }

  bool freezes_are_over() const {
    const std::vector<pid_t> children = children_of(spawner());
    return std::none_of(children.begin(), children.end(),
                        [](pid_t child) { return in_own_namespace(child) && program_of(child) != "thaw-pager"; });
  }

  // A function that was being frozen goes on as if nothing had been, or it ends: it never runs on wrongly.
  void expect_right_or_ended(const Running& running) {
    for (int i = 0; i < 12; ++i) {
      const std::string said = line(running);
      if (said.empty()) {
        wait_exit(running.id);
        return;
      }
      ASSERT_TRUE(said.starts_with("ok ")) << said;
    }
    host_->destroy(running.id);
    wait_exit(running.id);
  }

  std::mt19937 random_{1};
};

TEST_F(SnapshotFaultTest, AKilledFreezeIsAnsweredAndItsFunctionNeverRunsOnWrongly) {
  int killed = 0;
  for (int round = 0; round < rounds(); ++round) {
    SCOPED_TRACE(round);
    const Running function = start_busy();
    const UniqueFd image = new_file();
    auto frozen = begin_freeze(function.id, image);
    const pid_t worker = freeze_worker(frozen);
    if (worker > 0) {
      std::this_thread::sleep_for(microseconds(random_() % 25'000));
      killed += ::kill(worker, SIGKILL) == 0 ? 1 : 0;
    }
    ASSERT_EQ(frozen.wait_for(kPatience), std::future_status::ready) << "the freeze is never answered";
    (void)frozen.get();
    expect_right_or_ended(function);
  }
  EXPECT_GT(killed, 0) << "no freeze was seen";
  EXPECT_TRUE(eventually([&] { return freezes_are_over(); }));
  EXPECT_TRUE(busy_image().valid());
}

TEST_F(SnapshotFaultTest, AFreezeThatHangsIsEndedAtItsDeadlineWithTheFunctionThatItHolds) {
  ASSERT_TRUE(host_->shut_down(kPatience).ok());
  host_.reset();
  freeze_s_ = 1;
  launch();
  const Running function = start_busy();  // 256 MB: two seconds more
  const UniqueFd image = new_file();
  auto frozen = begin_freeze(function.id, image);
  const pid_t worker = freeze_worker(frozen);
  ASSERT_GT(worker, 0) << "no freeze was seen";
  // Once it holds the function, so that nobody but the deadline can set it free.
  ASSERT_TRUE(eventually([&] { return is_traced(function_of(function)); }));
  ASSERT_EQ(::kill(worker, SIGSTOP), 0);
  ASSERT_EQ(frozen.wait_for(kPatience), std::future_status::ready) << "the freeze is never answered";
  const auto outcome = frozen.get();
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().kind, ErrorKind::timeout) << outcome.error().message;
  wait_exit(function.id);
  EXPECT_TRUE(eventually([&] { return freezes_are_over(); }));
  freeze_s_ = kFreezeSecondsDefault;
  EXPECT_TRUE(busy_image().valid());
}

TEST_F(SnapshotFaultTest, AnImageOfAnotherMachineIsRefusedAsThat) {
  const UniqueFd image = busy_image();
  auto described = snapshot::read_image(image);
  ASSERT_TRUE(described.ok());
  // The same image, said to be of another kernel.
  const UniqueFd other = new_file();
  snapshot::ImageWriter writer(other, 1);
  described->fingerprint.kernel = "another";
  described->pages_bytes = 0;
  for (auto& mapping : described->mappings) mapping.runs.clear();
  ASSERT_TRUE(writer.finish(*described).ok());
  Coming coming = begin_thaw(loaded(other));
  ASSERT_EQ(coming.started.wait_for(kPatience), std::future_status::ready);
  const auto started = coming.started.get();
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().kind, ErrorKind::unsupported) << started.error().message;
  EXPECT_EQ(started.error().code, "Snapshot.OtherMachine");
}

TEST_F(SnapshotFaultTest, AFunctionThatIsKilledWhileItIsFrozenEndsTheFreeze) {
  for (int round = 0; round < rounds(); ++round) {
    SCOPED_TRACE(round);
    const Running function = start_busy();
    const std::vector<pid_t> processes = host_processes();
    ASSERT_GE(processes.size(), 2U);
    const UniqueFd image = new_file();
    auto frozen = begin_freeze(function.id, image);
    std::this_thread::sleep_for(microseconds(random_() % 40'000));
    ::kill(processes[random_() % 2], SIGKILL);  // PID 1 or the function
    ASSERT_EQ(frozen.wait_for(kPatience), std::future_status::ready) << "the freeze is never answered";
    (void)frozen.get();
    wait_exit(function.id);
  }
  EXPECT_TRUE(eventually([&] { return freezes_are_over(); }));
  EXPECT_TRUE(busy_image().valid());
}

TEST_F(SnapshotFaultTest, ADestroyedEnvironmentEndsItsFreeze) {
  for (int round = 0; round < rounds(); ++round) {
    SCOPED_TRACE(round);
    const Running function = start_busy();
    const UniqueFd image = new_file();
    auto frozen = begin_freeze(function.id, image);
    std::this_thread::sleep_for(microseconds(random_() % 40'000));
    host_->destroy(function.id);
    ASSERT_EQ(frozen.wait_for(kPatience), std::future_status::ready) << "the freeze is never answered";
    (void)frozen.get();
    EXPECT_EQ(wait_exit(function.id).reason, ExitReason::destroyed);
  }
  EXPECT_TRUE(eventually([&] { return freezes_are_over(); }));
}

TEST_F(SnapshotFaultTest, AKilledRestoreIsAnsweredAndTheNextOneWorks) {
  const snapshot::ImageMemory image = loaded(busy_image());
  for (int round = 0; round < 2 * rounds(); ++round) {
    SCOPED_TRACE(round);
    Coming coming = begin_thaw(image);
    std::this_thread::sleep_for(microseconds(random_() % 30'000));
    // Any process of any environment: what is becoming the clone is among them.
    std::vector<pid_t> victims;
    for (const pid_t child : children_of(spawner())) {
      if (in_own_namespace(child)) continue;
      victims.push_back(child);
      for (const pid_t grandchild : children_of(child)) victims.push_back(grandchild);
    }
    if (!victims.empty()) ::kill(victims[random_() % victims.size()], SIGKILL);
    ASSERT_EQ(coming.started.wait_for(kPatience), std::future_status::ready) << "the start is never answered";
    if (coming.started.get().ok()) expect_right_or_ended(coming.running);
  }
  Coming last = begin_thaw(image);
  ASSERT_EQ(last.started.wait_for(kPatience), std::future_status::ready);
  const auto started = last.started.get();
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_TRUE(line(last.running).starts_with("ok "));
}

TEST_F(SnapshotFaultTest, AKilledSpawnerAnswersEverybody) {
  const snapshot::ImageMemory image = loaded(busy_image());
  const Running function = start_busy();
  const UniqueFd other = new_file();
  auto frozen = begin_freeze(function.id, other);
  std::vector<Coming> coming;
  for (int i = 0; i < 4; ++i) coming.push_back(begin_thaw(image));
  std::this_thread::sleep_for(microseconds(random_() % 30'000));
  ::kill(spawner(), SIGKILL);
  EXPECT_EQ(frozen.wait_for(kPatience), std::future_status::ready) << "the freeze is never answered";
  for (Coming& one : coming)
    EXPECT_EQ(one.started.wait_for(kPatience), std::future_status::ready) << "a start is never answered";
  EXPECT_TRUE(host_->shut_down(kPatience).ok());
  EXPECT_TRUE(cgroups_named(cgroup_name_).empty());
  host_.reset();
  launch();
  // The image is as good as before.
  Coming again = begin_thaw(image);
  ASSERT_EQ(again.started.wait_for(kPatience), std::future_status::ready);
  const auto started = again.started.get();
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_TRUE(line(again.running).starts_with("ok "));
}

TEST_F(SnapshotFaultTest, AnImageThatIsCutBeneathItsRestoresFailsThemAlone) {
  const UniqueFd image = busy_image();
  const auto described = snapshot::read_image(image);
  ASSERT_TRUE(described.ok());
  for (int round = 0; round < rounds(); ++round) {
    SCOPED_TRACE(round);
    const snapshot::ImageMemory victim = loaded(image);
    std::vector<Coming> coming;
    for (int i = 0; i < 4; ++i) coming.push_back(begin_thaw(victim));
    std::this_thread::sleep_for(microseconds(random_() % 20'000));
    // Somewhere in the memory of its clones: they end at the first page that is gone (SIGBUS).
    const auto& mappings = described->mappings;
    ASSERT_EQ(::ftruncate(victim.pages.get(), static_cast<off_t>(mappings[random_() % mappings.size()].start)), 0);
    for (Coming& one : coming) {
      ASSERT_EQ(one.started.wait_for(kPatience), std::future_status::ready) << "a start is never answered";
      auto started = one.started.get();
      // Who had read it all goes on; who had not ends, and says nothing wrong before.
      if (started.ok()) expect_right_or_ended(one.running);
    }
    Coming good = begin_thaw(loaded(image));
    ASSERT_EQ(good.started.wait_for(kPatience), std::future_status::ready);
    const auto started = good.started.get();
    ASSERT_TRUE(started.ok()) << started.error().message;
    EXPECT_TRUE(line(good.running).starts_with("ok "));
    host_->destroy(good.running.id);
    wait_exit(good.running.id);
  }
}

}  // namespace
}  // namespace thaw::sandbox
