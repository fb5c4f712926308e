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

std::uint64_t count_of(const std::string& line) {
  return line.starts_with("ok ") ? std::stoull(line.substr(3)) : ~0ULL;
}

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
  std::printf("held %.1f ms\n", static_cast<double>(report->held_us) / 1e3);
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
  const auto memory = load_image(file);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  for (int clone = 0; clone < 2; ++clone) {
    Launched thawed = Launched::clone_of(*image, *memory);
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
  const int cycles = wanted != nullptr ? std::atoi(wanted) : 10;
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
    const auto memory = load_image(file);
    ASSERT_TRUE(memory.ok()) << memory.error().message;
    Launched one = Launched::clone_of(*image, *memory);
    Launched two = Launched::clone_of(*image, *memory);
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

// ---- Servers that nobody wrote for this ----

struct Server {
  const char* name;
  std::vector<std::string> command;
  std::string request;
  std::string expected;  // in the answer
};

constexpr std::uint16_t kPort = 8080;

std::string get(const std::string& path) { return "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"; }

std::string post(const std::string& path, const std::string& body) {
  return "POST " + path +
         " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::vector<Server> servers() {
  const std::string question =
      R"({"question": "What is the color of my car now?", "context": "My car used to be blue but I painted red"})";
  return {
      {"Python",
       {"/usr/bin/python3", "-m", "http.server", "8080", "--directory", "/usr/share/doc/bash"},
       get("/"),
       "200 OK"},
      {"Uvicorn",
       {"/usr/bin/python3", "-m", "uvicorn", "--port", "8080", "--app-dir", THAW_SOURCE_DIR "/examples/fastapi-hello",
        "main:app"},
       get("/"),
       "200 OK"},
      {"Node",
       {"/usr/bin/node", "-e",
        "let n = 0; require('http').createServer((q, s) => s.end('hello ' + (++n))).listen(8080)"},
       get("/"),
       "hello"},
      {"NodeThatWatchesFiles",
       {"/usr/bin/node", "-e",
        "const fs = require('fs'); let n = 0; fs.watch('/usr/share', () => {}); fs.watch(process.execPath, () => {});"
        "require('http').createServer((q, s) => s.end('hello ' + (++n))).listen(8080)"},
       get("/"),
       "hello"},
      {"ThawOnnx",
       {std::string(THAW_BINARY_DIR) + "/engines/thaw-onnx", "--model", THAW_SOURCE_DIR "/models/qa"},
       post("/question", question),
       "red"},
      // Eight threads in accept(), and an index of some 50 MB.
      {"CppThreads", {program("thaw_bench_search")}, get("/?wb+wc"), "200 OK"},
      {"Java",
       {"/usr/bin/java", "-XX:-UsePerfData", THAW_SOURCE_DIR "/bench/wake/functions/java/Server.java"},
       get("/"),
       "hello"},
  };
}

class ServerTest : public ProcessTest, public testing::WithParamInterface<Server> {};

std::string body_of(const std::string& answer) {
  const std::size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? answer : answer.substr(end + 4);
}

TEST_P(ServerTest, AnswersAsBeforeWhenItIsThawed) {
  const Server& server = GetParam();
  if (::access(server.command.front().c_str(), X_OK) != 0) GTEST_SKIP() << server.command.front() << " is not here";
  Launched original = Launched::program(server.command);
  std::string before;
  for (int look = 0; look < 300 && before.find(server.expected) == std::string::npos; ++look) {
    before = original.ask(kPort, server.request);
    if (before.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_NE(before.find(server.expected), std::string::npos) << before << original.line();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const UniqueFd file = new_file();
  const auto report = freeze_into(original, file);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto image = read_image(file);
  ASSERT_TRUE(image.ok()) << image.error().message;
  const auto memory = load_image(file);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  const std::string after = original.ask(kPort, server.request);
  EXPECT_NE(after.find(server.expected), std::string::npos) << "the original: " << after;
  Launched one = Launched::clone_of(*image, *memory);
  Launched two = Launched::clone_of(*image, *memory);
  for (Launched* clone : {&one, &two}) {
    ASSERT_EQ(clone->report(), "running");
    // The original and its clones have answered as often: the state is the same, too.
    EXPECT_EQ(body_of(clone->ask(kPort, server.request)), body_of(after));
    EXPECT_NE(clone->ask(kPort, server.request).find(server.expected), std::string::npos);
  }
  RecordProperty("pages_mb", static_cast<int>(report->pages_bytes >> 20));
  std::printf("%s: %.1f MB, held %.1f ms, %zu threads, %zu mappings, running after %.2f and %.2f ms\n", server.name,
              static_cast<double>(report->pages_bytes) / 1e6, static_cast<double>(report->held_us) / 1e3,
              image->threads.size(), image->mappings.size(), static_cast<double>(one.restore_us()) / 1e3,
              static_cast<double>(two.restore_us()) / 1e3);
}

INSTANTIATE_TEST_SUITE_P(Servers, ServerTest, testing::ValuesIn(servers()),
                         [](const auto& server) { return server.param.name; });

}  // namespace
}  // namespace thaw::snapshot
