// Every kind of state by itself: a subject makes it, is frozen, and finds it again; so do two clones of it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "launch.h"
#include "snapshot/freeze.h"
#include "snapshot/image_file.h"
#include "snapshot/proc_files.h"

namespace thaw::snapshot {
namespace {

constexpr const char* kJemalloc = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
const std::vector<std::string> kOwnFolders = {"/tmp", "/dev/shm"};

// The folder of the subjects' programs. Their /tmp is empty: a build that lies there is copied elsewhere, for as long
// as the tests run.
std::string programs() {
  const std::string built = std::string(THAW_BINARY_DIR) + "/bin";
  if (!built.starts_with("/tmp/")) return built;
  static const struct Copy {
    explicit Copy(const std::string& from) {
      std::string pattern = "/var/tmp/thaw-subjects-XXXXXX";
      folder = ::mkdtemp(pattern.data());
      ::chmod(folder.c_str(), 0755);
      for (const auto& entry : std::filesystem::directory_iterator(from)) {
        if (entry.path().filename().string().ends_with("_subject")) std::filesystem::copy(entry.path(), folder);
      }
    }
    ~Copy() { std::filesystem::remove_all(folder); }
    std::filesystem::path folder;
  } copy(built);
  return copy.folder;
}

std::vector<std::string> command_of(const std::string& program, const std::string& name) {
  return {programs() + "/" + program, name};
}

UniqueFd new_file() { return UniqueFd(::memfd_create("snapshot", MFD_CLOEXEC)); }

Result<FreezeReport> freeze_into(const Launched& launched, const UniqueFd& file, bool strict = false,
                                 std::uint32_t filters = 0) {
  return freeze({.pid = launched.pid(),
                 .output_pipe = launched.output_inode(),
                 .strict_connections = strict,
                 .private_folders = kOwnFolders,
                 .environment_filters = filters},
                file);
}

// Everything that it says until it is done.
std::string verdict(Launched& launched) {
  ::kill(launched.pid(), SIGUSR2);
  std::string all;
  for (;;) {
    const std::string line = launched.line();
    if (line == "right") return all.empty() ? line : all;
    all += line + "\n";
    if (!line.starts_with("wrong: ")) return all;
  }
}

// A clone has said that it runs a moment before it does.
bool waits_for_its_turn(const Launched& launched) {
  for (int look = 0; look < 10'000; ++look) {
    const auto call = read_proc(launched.pid(), "syscall");
    if (call.ok() && number(*call) == SYS_rt_sigtimedwait) return true;
    ::usleep(1000);
  }
  return false;
}

class StateTestBase : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "freezing a process needs root";
  }
};

// ---- What comes back ----

struct Kept {
  const char* program;
  const char* name;
  // What the freeze does not leave as it was: only clones are asked then.
  bool original_too = true;
  const char* preload = nullptr;
  uid_t user = 0;  // of the clones
};

void PrintTo(const Kept& kept, std::ostream* out) { *out << kept.program << " " << kept.name; }

class KeptTest : public StateTestBase, public testing::WithParamInterface<Kept> {};

TEST_P(KeptTest, IsTheSameInTheOriginalAndInTwoClones) {
  const Kept& kept = GetParam();
  std::vector<std::string> command = command_of(kept.program, kept.name);
  if (kept.preload != nullptr) {
    if (::access(kept.preload, R_OK) != 0) GTEST_SKIP() << kept.preload << " is not here";
    command.insert(command.begin(), {"/usr/bin/env", std::string("LD_PRELOAD=") + kept.preload});
  }
  Launched original = Launched::program(command, Folders::own);
  const std::string ready = original.line();
  if (ready.starts_with("skip: ")) GTEST_SKIP() << ready.substr(6);
  ASSERT_EQ(ready, "ready");
  const UniqueFd file = new_file();
  const auto report = freeze_into(original, file);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto image = read_image(file);
  ASSERT_TRUE(image.ok()) << image.error().message;
  const auto memory = load_image(file);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  if (kept.original_too) {
    EXPECT_EQ(verdict(original), "right") << "the original";
  }
  // Both are there before one is asked: what one does, the other does not see.
  Launched one = Launched::clone_of(*image, *memory, {.user = kept.user, .folders = Folders::own});
  Launched two = Launched::clone_of(*image, *memory, {.user = kept.user, .folders = Folders::own});
  ASSERT_EQ(one.report(), "running");
  ASSERT_EQ(two.report(), "running");
  EXPECT_EQ(verdict(one), "right");
  EXPECT_EQ(verdict(two), "right");
  // As where there is no userfaultfd.
  Launched copied = Launched::clone_of(*image, *memory, {.user = kept.user, .folders = Folders::own, .copied = true});
  ASSERT_EQ(copied.report(), "running");
  EXPECT_EQ(verdict(copied), "right") << "all copied";
  // What has been restored can be frozen.
  Launched third = Launched::clone_of(*image, *memory, {.folders = Folders::own});
  ASSERT_EQ(third.report(), "running");
  ASSERT_TRUE(waits_for_its_turn(third));
  const UniqueFd again = new_file();
  const auto second = freeze_into(third, again, false, 1);  // the filter of a restore
  ASSERT_TRUE(second.ok()) << second.error().message;
  const auto second_image = read_image(again);
  ASSERT_TRUE(second_image.ok()) << second_image.error().message;
  const auto second_memory = load_image(again);
  ASSERT_TRUE(second_memory.ok()) << second_memory.error().message;
  Launched grandchild = Launched::clone_of(*second_image, *second_memory, {.user = kept.user, .folders = Folders::own});
  ASSERT_EQ(grandchild.report(), "running");
  EXPECT_EQ(verdict(grandchild), "right") << "a clone of a clone";
}

INSTANTIATE_TEST_SUITE_P(
    State, KeptTest,
    testing::Values(Kept{"memory_subject", "memfd"}, Kept{"memory_subject", "sealed"}, Kept{"memory_subject", "shared"},
                    Kept{"memory_subject", "given-back"}, Kept{"memory_subject", "moved"},
                    Kept{"memory_subject", "great"}, Kept{"files_subject", "deleted"}, Kept{"files_subject", "tree"},
                    Kept{.program = "files_subject", .name = "tree", .original_too = false, .user = 23456},
                    Kept{.program = "memory_subject", .name = "memfd", .original_too = false, .user = 23456},
                    Kept{"files_subject", "locks"}, Kept{"files_subject", "loaded"}, Kept{"sockets_subject", "pairs"},
                    Kept{"sockets_subject", "named"},
                    Kept{.program = "sockets_subject", .name = "named", .original_too = false, .user = 23456},
                    Kept{"sockets_subject", "internet"},
                    Kept{.program = "sockets_subject", .name = "connection", .original_too = false},
                    Kept{"events_subject", "watches"},
                    // Reading the folder is what the original sees.
                    Kept{.program = "events_subject", .name = "watches-opens", .original_too = false},
                    Kept{"events_subject", "polled"}, Kept{"events_subject", "timed"}, Kept{"process_subject", "avx"},
                    Kept{"process_subject", "avx512"}, Kept{"process_subject", "threads"},
                    Kept{"process_subject", "signals"}, Kept{"process_subject", "settings"},
                    Kept{"allocator_subject", "zeros"},
                    Kept{.program = "allocator_subject", .name = "zeros", .preload = kJemalloc}),
    [](const auto& kept) {
      std::string name = std::string(kept.param.program) + "_" + kept.param.name;
      if (kept.param.preload != nullptr) name += "_jemalloc";
      if (kept.param.user != 0) name += "_user";
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

// ---- Much memory ----

class BulkTest : public StateTestBase {};

TEST_F(BulkTest, AQuarterOfAGigabyteComesBackWordForWord) {
  Launched original = Launched::program(command_of("memory_subject", "bulk"), Folders::own);
  ASSERT_EQ(original.line(), "ready");
  const UniqueFd file(::open(THAW_BINARY_DIR, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  ASSERT_TRUE(file.valid());
  const auto began = std::chrono::steady_clock::now();
  const auto report = freeze_into(original, file);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  const double gigabytes = static_cast<double>(report->pages_bytes) / 1e9;
  std::printf("%.2f GB: held %.0f ms (%.2f GB/s), on disk after %.0f ms (%.2f GB/s)\n", gigabytes,
              static_cast<double>(report->held_us) / 1e3, gigabytes * 1e6 / static_cast<double>(report->held_us),
              took.count() * 1e3, gigabytes / took.count());
  // Every eighth page is of zeros and takes no place.
  EXPECT_LT(report->pages_bytes, (256ULL << 20) / 8 * 7 + (8 << 20));
  const auto memory = load_image(file);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  const auto image = read_image(file);
  ASSERT_TRUE(image.ok()) << image.error().message;
  Launched clone = Launched::clone_of(*image, *memory, {.folders = Folders::own});
  ASSERT_EQ(clone.report(), "running");
  EXPECT_EQ(verdict(clone), "right");
  EXPECT_EQ(verdict(original), "right");
}

// ---- What refuses ----

struct Refused {
  const char* program;
  const char* name;
  const char* says;
  bool strict = false;
};

void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.program << " " << refused.name; }

class RefusedTest : public StateTestBase, public testing::WithParamInterface<Refused> {};

TEST_P(RefusedTest, ByNameAndTheProcessGoesOn) {
  const Refused& refused = GetParam();
  Launched original = Launched::program(command_of(refused.program, refused.name), Folders::own);
  const std::string ready = original.line();
  if (ready.starts_with("skip: ")) GTEST_SKIP() << ready.substr(6);
  ASSERT_EQ(ready, "ready");
  const UniqueFd file = new_file();
  const auto report = freeze_into(original, file, refused.strict);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().kind, ErrorKind::unsupported);
  EXPECT_NE(report.error().message.find(refused.says), std::string::npos) << report.error().message;
  EXPECT_FALSE(read_image(file).ok());
  if (!refused.strict) {
    EXPECT_EQ(verdict(original), "right");
  }
}

INSTANTIATE_TEST_SUITE_P(
    State, RefusedTest,
    testing::Values(Refused{"memory_subject", "sealed-for-writing", "sealed against writing"},
                    Refused{"memory_subject", "key", "has a protection key"},
                    Refused{"memory_subject", "mseal", "is sealed (mseal)"},
                    Refused{"memory_subject", "system-five", "System V shared memory"},
                    Refused{"memory_subject", "huge-memfd", "memory of huge pages"},
                    Refused{"files_subject", "labelled", "/tmp/labelled has extended attributes"},
                    Refused{"files_subject", "device", "/tmp/null is a device"},
                    Refused{"files_subject", "locked-by-all",
                            "an exclusive lock on a file that all clones would share"},
                    Refused{"files_subject", "half-deleted", "/tmp/first (deleted), which has only other names left"},
                    Refused{"files_subject", "named-pipe", "the named pipe /tmp/queue"},
                    Refused{"sockets_subject", "connection", "an open TCP connection", true},
                    Refused{"sockets_subject", "connection-waits", "to which a connection has come"},
                    Refused{"sockets_subject", "descriptor-waits", "SCM_RIGHTS"},
                    Refused{"sockets_subject", "datagram-waits", "a datagram socket in which something waits"},
                    Refused{"sockets_subject", "connected-by-name", "connected by a name"},
                    Refused{"sockets_subject", "bound-elsewhere", "a unix socket named /var/tmp/thaw-subject-"},
                    Refused{"sockets_subject", "filtered", "a socket with a BPF filter"},
                    Refused{"sockets_subject", "joined", "a multicast group"},
                    Refused{"events_subject", "signalled", "O_ASYNC"},
                    Refused{"events_subject", "packets-wait", "a pipe of packets"},
                    Refused{"events_subject", "watches-closed", "an epoll that watches what was descriptor"},
                    Refused{"events_subject", "watches-replaced", "an epoll that watches what was descriptor"},
                    Refused{"events_subject", "events-wait", "an inotify instance with events"},
                    Refused{"process_subject", "child", "has child processes"},
                    Refused{"process_subject", "orphan", "has left processes behind"},
                    Refused{"process_subject", "filter", "a seccomp filter"},
                    Refused{"process_subject", "real-time", "real-time scheduling policy"},
                    Refused{"process_subject", "other-personality", "personality"}),
    [](const auto& refused) {
      std::string name = std::string(refused.param.program) + "_" + refused.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace thaw::snapshot
