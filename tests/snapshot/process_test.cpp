// Real processes, frozen from outside and thawed as clones.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "launch.h"
#include "snapshot/freeze.h"
#include "snapshot/image_file.h"

namespace thaw::snapshot {
namespace {

std::string program(const char* name) { return std::string(THAW_BINARY_DIR) + "/bin/" + name; }

UniqueFd new_file() { return UniqueFd(::memfd_create("snapshot", MFD_CLOEXEC)); }

Result<FreezeReport> freeze_into(const Launched& launched, const UniqueFd& file) {
  return freeze({.pid = launched.pid(), .output_pipe = launched.output_inode()}, file);
}

std::uint64_t count_of(const std::string& line) { return line.starts_with("ok ") ? std::stoull(line.substr(3)) : ~0ULL; }

class ProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "freezing a process needs root";
  }
};

TEST_F(ProcessTest, TheOriginalGoesOnUnharmed) {
  Launched original = Launched::program({program("busy_subject"), "1"});
  ASSERT_EQ(original.line(), "ok 0");
  const UniqueFd file = new_file();
  const auto report = freeze_into(original, file);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_GE(report->threads, 11U);
  std::uint64_t last = 0;
  for (int i = 0; i < 12; ++i) {
    const std::string line = original.line();
    ASSERT_TRUE(line.starts_with("ok ")) << line;
    last = count_of(line);
  }
  EXPECT_GE(last, 12U);
}

TEST_F(ProcessTest, TwoClonesGoOnWhereTheOriginalWas) {
  Launched original = Launched::program({program("busy_subject"), "1"});
  ASSERT_EQ(original.line(), "ok 0");
  ASSERT_EQ(original.line(), "ok 1");
  const UniqueFd file = new_file();
  const auto report = freeze_into(original, file);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto image = read_image(file);
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_TRUE(verify_pages(file).ok());
  for (int clone = 0; clone < 2; ++clone) {
    Launched thawed = Launched::clone_of(*image, file);
    ASSERT_EQ(thawed.report(), "running");
    for (int i = 0; i < 25; ++i) {
      const std::string line = thawed.line();
      ASSERT_TRUE(line.starts_with("ok ")) << line;
      ASSERT_LE(count_of(line), static_cast<std::uint64_t>(i) + 3);
    }
  }
}

// THAW_STRESS_CYCLES: how many times; a short run by default.
TEST_F(ProcessTest, FrozenAtRandomMomentsNothingIsLost) {
  const char* wanted = std::getenv("THAW_STRESS_CYCLES");
  const int cycles = wanted != nullptr ? std::atoi(wanted) : 20;
  std::mt19937 random(1);
  for (int cycle = 0; cycle < cycles; ++cycle) {
    Launched original = Launched::program({program("busy_subject"), "1"});
    ASSERT_EQ(original.line(), "ok 0");
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 50'000));
    const UniqueFd file = new_file();
    const auto report = freeze_into(original, file);
    ASSERT_TRUE(report.ok()) << report.error().message;
    const auto image = read_image(file);
    ASSERT_TRUE(image.ok()) << image.error().message;
    Launched one = Launched::clone_of(*image, file);
    Launched two = Launched::clone_of(*image, file);
    ASSERT_EQ(one.report(), "running") << "cycle " << cycle;
    ASSERT_EQ(two.report(), "running") << "cycle " << cycle;
    for (Launched* clone : {&one, &two}) {
      for (int i = 0; i < 3; ++i) {
        const std::string line = clone->line();
        ASSERT_TRUE(line.starts_with("ok ")) << "cycle " << cycle << ": " << line;
      }
    }
  }
}

}  // namespace
}  // namespace thaw::snapshot
