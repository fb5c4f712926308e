#include "sandbox/cgroup.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "sandbox/controls.h"
#include "sandbox/protocol.h"

namespace thaw::sandbox {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A folder that looks like /sys/fs/cgroup: the layout is real, the files are ordinary ones.
class FakeCgroups : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/thaw-cgroup-test-XXXXXX";
    root_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(root_); }

  void make(const fs::path& path, const std::string& text = "") {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::string mount_line(const std::string& folder, const std::string& type, const std::string& options) const {
    return "40 31 0:30 / " + (root_ / folder).string() + " rw,nosuid shared:9 - " + type + " " + type + " " + options +
           "\n";
  }

  fs::path root_;
};

TEST_F(FakeCgroups, PureV2DoesEverything) {
  make("cgroup.controllers", "cpuset cpu io memory pids\n");
  const auto mounts =
      detect_cgroups({.mountinfo = mount_line("", "cgroup2", "rw,nsdelegate"), .self_cgroup = "0::/\n"});
  ASSERT_TRUE(mounts.ok()) << mounts.error().message;
  ASSERT_EQ(mounts->size(), 1u);
  EXPECT_EQ(mounts->at(0).version, CgroupVersion::v2);
  EXPECT_EQ(mounts->at(0).roles, kRoleMemory | kRoleCpu | kRolePids | kRoleFreeze);
}

TEST_F(FakeCgroups, EmptyV2FreezesAndV1Limits) {
  make("unified/cgroup.controllers", "\n");
  const std::string mountinfo =
      mount_line("cpu,cpuacct", "cgroup", "rw,cpu,cpuacct") + mount_line("memory", "cgroup", "rw,memory") +
      mount_line("freezer", "cgroup", "rw,freezer") + mount_line("pids", "cgroup", "rw,pids") +
      mount_line("systemd", "cgroup", "rw,name=systemd") + mount_line("unified", "cgroup2", "rw");
  const auto mounts = detect_cgroups({.mountinfo = mountinfo, .self_cgroup = ""});
  ASSERT_TRUE(mounts.ok()) << mounts.error().message;
  ASSERT_EQ(mounts->size(), 4u);
  EXPECT_EQ(mounts->at(0).roles, kRoleFreeze);
  EXPECT_EQ(mounts->at(0).version, CgroupVersion::v2);
  EXPECT_EQ(mounts->at(1).roles, kRoleCpu);
  EXPECT_EQ(mounts->at(2).roles, kRoleMemory);
  EXPECT_EQ(mounts->at(3).roles, kRolePids);
}

TEST_F(FakeCgroups, PureV1UsesItsFreezer) {
  const std::string mountinfo = mount_line("memory", "cgroup", "rw,memory") + mount_line("pids", "cgroup", "rw,pids") +
                                mount_line("freezer", "cgroup", "rw,freezer");
  const auto mounts = detect_cgroups({.mountinfo = mountinfo, .self_cgroup = ""});
  ASSERT_TRUE(mounts.ok()) << mounts.error().message;
  ASSERT_EQ(mounts->size(), 3u);
  EXPECT_EQ(mounts->at(2).roles, kRoleFreeze);
}

TEST_F(FakeCgroups, WhatIsMissingIsNamed) {
  make("cgroup.controllers", "cpu memory\n");
  const auto mounts = detect_cgroups({.mountinfo = mount_line("", "cgroup2", "rw"), .self_cgroup = ""});
  ASSERT_FALSE(mounts.ok());
  EXPECT_EQ(mounts.error().kind, ErrorKind::unsupported);
  EXPECT_NE(mounts.error().message.find("number of processes"), std::string::npos);
}

TEST_F(FakeCgroups, V2LimitsAreWritten) {
  make("cgroup.subtree_control");
  make("parent/cgroup.subtree_control");
  for (const char* file : {"memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max", "cgroup.freeze",
                           "memory.peak", "cgroup.kill"}) {
    make(fs::path("parent/e1") / file);
  }
  make("parent/e1/memory.events", "low 0\nhigh 0\nmax 31\noom 2\noom_kill 3\noom_group_kill 1\n");
  auto tree = CgroupTree::create({{.base = root_.string(),
                                   .version = CgroupVersion::v2,
                                   .roles = kRoleMemory | kRoleCpu | kRolePids | kRoleFreeze,
                                   .controllers = kRoleMemory | kRoleCpu | kRolePids}},
                                 "parent");
  ASSERT_TRUE(tree.ok()) << tree.error().message;
  EXPECT_EQ(contents(root_ / "parent/cgroup.subtree_control").substr(0, 5), "+pids");  // the last of three writes
  EXPECT_TRUE(tree->make_unified("e1")->valid());
  ASSERT_TRUE(tree->make_and_join("e1").ok());
  ASSERT_TRUE(tree->set_limits("e1", {.memory_bytes = 1 << 20, .pids_max = 9}).ok());
  EXPECT_EQ(contents(root_ / "parent/e1/memory.max"), "1048576");
  EXPECT_EQ(contents(root_ / "parent/e1/memory.swap.max"), "0");
  EXPECT_EQ(contents(root_ / "parent/e1/memory.oom.group"), "1");
  EXPECT_EQ(contents(root_ / "parent/e1/pids.max"), "10");
  EXPECT_EQ(tree->oom_kills("e1"), 3u);
  const auto controls = tree->open_controls("e1");
  ASSERT_TRUE(controls.ok()) << controls.error().message;
  EXPECT_EQ(controls->mask, protocol::kControlFreezeV2 | protocol::kControlCpuV2 | protocol::kControlMemoryPeak);
  EXPECT_EQ(controls->files.size(), 3u);
  tree->kill("e1");
  EXPECT_EQ(contents(root_ / "parent/e1/cgroup.kill"), "1");
}

TEST_F(FakeCgroups, V1LimitsAreWritten) {
  for (const char* file : {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cgroup.procs"}) {
    make(fs::path("memory/parent/e1") / file);
  }
  make("memory/parent/e1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  make("memory/parent/e1/memory.usage_in_bytes", "5");
  for (const char* file : {"pids.max", "cgroup.procs"}) make(fs::path("pids/parent/e1") / file);
  for (const char* file : {"freezer.state", "cgroup.procs"}) make(fs::path("freezer/parent/e1") / file);
  auto tree =
      CgroupTree::create({{.base = (root_ / "memory").string(), .roles = kRoleMemory, .controllers = kRoleMemory},
                          {.base = (root_ / "pids").string(), .roles = kRolePids, .controllers = kRolePids},
                          {.base = (root_ / "freezer").string(), .roles = kRoleFreeze, .controllers = kRoleFreeze}},
                         "parent");
  ASSERT_TRUE(tree.ok()) << tree.error().message;
  EXPECT_FALSE(tree->make_unified("e1")->valid());
  ASSERT_TRUE(tree->make_and_join("e1").ok());
  ASSERT_TRUE(tree->set_limits("e1", {.memory_bytes = 1 << 20, .pids_max = 9}).ok());
  EXPECT_EQ(contents(root_ / "memory/parent/e1/memory.limit_in_bytes"), "1048576");
  EXPECT_EQ(contents(root_ / "memory/parent/e1/memory.memsw.limit_in_bytes"), "1048576");
  EXPECT_EQ(contents(root_ / "pids/parent/e1/pids.max"), "10");
  EXPECT_EQ(contents(root_ / "freezer/parent/e1/cgroup.procs"), "0");
  EXPECT_EQ(tree->oom_kills("e1"), 2u);
  const auto controls = tree->open_controls("e1");
  ASSERT_TRUE(controls.ok()) << controls.error().message;
  EXPECT_EQ(controls->mask, protocol::kControlFreezeV1 | protocol::kControlMemoryCurrent);
  tree->kill("e1");
  EXPECT_EQ(contents(root_ / "freezer/parent/e1/freezer.state"), "THAWED");
}

TEST(RealCgroups, GroupIsMadeJoinedKilledAndRemoved) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: cgroups";
  auto mounts = detect_cgroups();
  ASSERT_TRUE(mounts.ok()) << mounts.error().message;
  auto tree = CgroupTree::create(*mounts, "thaw-test-" + std::to_string(::getpid()));
  ASSERT_TRUE(tree.ok()) << tree.error().message;
  ASSERT_TRUE(tree->make_unified("e1").ok());
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool joined = tree->make_and_join("e1").ok() && tree->set_limits("e1", {64 << 20, 10}).ok();
    (void)!::write(ready[1], joined ? "+" : "-", 1);
    for (;;) ::pause();
  }
  char joined = 0;
  ASSERT_EQ(::read(ready[0], &joined, 1), 1);
  EXPECT_EQ(joined, '+');
  EXPECT_EQ(tree->groups(), std::vector<std::string>{"e1"});
  ::kill(child, SIGSTOP);
  EXPECT_TRUE(tree->open_controls("e1").ok());
  tree->kill("e1");
  ::kill(child, SIGKILL);  // on pure v2 it is not in the group: only birth joins there
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(tree->sweep(2000));
  EXPECT_TRUE(tree->groups().empty());
  tree->remove_parents();
  ::close(ready[0]);
  ::close(ready[1]);
}

// The v1 freezer by itself, as on a machine without v2: a frozen process dies only when it is thawed.
TEST(RealCgroups, FrozenByV1IsThawedToBeKilled) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: cgroups";
  const std::string base = "/sys/fs/cgroup/freezer";
  if (::access((base + "/cgroup.procs").c_str(), W_OK) != 0) GTEST_SKIP() << "no v1 freezer on this machine";
  auto tree = CgroupTree::create({{.base = base, .roles = kRoleFreeze | kRoleMemory, .controllers = kRoleFreeze}},
                                 "thaw-test-v1-" + std::to_string(::getpid()));
  ASSERT_TRUE(tree.ok()) << tree.error().message;
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    (void)!::write(ready[1], tree->make_and_join("e1").ok() ? "+" : "-", 1);
    for (;;) ::pause();
  }
  char joined = 0;
  ASSERT_EQ(::read(ready[0], &joined, 1), 1);
  EXPECT_EQ(joined, '+');
  auto opened = tree->open_controls("e1");
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  ASSERT_EQ(opened->mask, protocol::kControlFreezeV1);
  const auto controls = make_controls({.controls = opened->mask}, std::move(opened->files));
  ASSERT_TRUE(controls->freeze().ok());
  ::kill(child, SIGKILL);
  ::usleep(20'000);
  EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), 0);
  tree->kill("e1");
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(tree->sweep(2000));
  tree->remove_parents();
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(CpuQuota, IsInProportionAndNeverBelowTheKernelsLeast) {
  EXPECT_EQ(cpu_quota_us(1000), kCpuPeriodUs);
  EXPECT_EQ(cpu_quota_us(72), 1440u);
  EXPECT_EQ(cpu_quota_us(1), kCpuQuotaMinUs);
  EXPECT_EQ(cpu_quota_us(5788), 115'760u);
}

}  // namespace
}  // namespace thaw::sandbox
