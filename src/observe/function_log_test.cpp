#include "observe/function_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "model/function.h"

namespace thaw::observe {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class FunctionLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = (std::filesystem::temp_directory_path() / "thaw-log-XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
    open({});
  }
  void TearDown() override {
    logs_.reset();
    std::filesystem::remove_all(root_);
  }

  void open(LogLimits limits) {
    logs_.reset();
    auto opened = FunctionLogs::open(folder(), limits);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    logs_ = std::move(*opened);
  }
  std::string folder() const { return root_ + "/logs"; }
  std::string file(const std::string& name) const {
    std::ifstream in(folder() + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string tail(const std::string& name, std::size_t bytes_max = 1 << 20) {
    auto result = logs_->tail(name, bytes_max);
    EXPECT_TRUE(result.ok());
    return result.ok() ? result->text : "";
  }
  std::uintmax_t bytes_in_folder() const {
    std::uintmax_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder())) bytes += entry.file_size();
    return bytes;
  }

  std::string root_;
  std::unique_ptr<FunctionLogs> logs_;
};

TEST_F(FunctionLogTest, LinesAreSeenAtOnceAndOnDiskAfterFlush) {
  logs_->of("Hello")->append("one\ntwo");
  EXPECT_EQ(tail("hello"), "one\ntwo\n");
  logs_->flush();
  EXPECT_EQ(file("hello.log"), "# thaw log from byte 00000000000000000000\none\ntwo\n");
  EXPECT_EQ(tail("HELLO"), "one\ntwo\n");
}

TEST_F(FunctionLogTest, WriterWritesWithoutFlush) {
  logs_->of("a")->append("one\n");
  for (int i = 0; i < 500 && file("a.log").empty(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_THAT(file("a.log"), EndsWith("one\n"));
}

TEST_F(FunctionLogTest, DestructionWritesWhatWaits) {
  const auto log = logs_->of("a");
  log->append("one\n");
  logs_.reset();
  EXPECT_THAT(file("a.log"), EndsWith("one\n"));
  log->append("too late, and harmless\n");
}

TEST_F(FunctionLogTest, TailGivesTheNewestWholeLines) {
  logs_->of("a")->append("first\nsecond\nthird\n");
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(tail("a", 12), "third\n");
    EXPECT_EQ(tail("a", 13), "second\nthird\n");
    EXPECT_EQ(tail("a", 3), "");
    logs_->flush();
  }
}

TEST_F(FunctionLogTest, SinceFollowsThroughRotationAndRestart) {
  const LogLimits limits{.file_bytes_max = 100};
  open(limits);
  std::string all, followed;
  std::uint64_t position = logs_->tail("a", 1000)->position;
  for (int i = 0; i < 60; ++i) {
    const std::string line = "line number " + std::to_string(i) + "\n";
    logs_->of("a")->append(line);
    all += line;
    if (i % 3 == 0) logs_->flush();
    if (i % 10 == 9) open(limits);
    const auto more = logs_->since("a", position, 4096);
    ASSERT_TRUE(more.ok());
    followed += more->text;
    position = more->position;
  }
  EXPECT_EQ(followed, all);
  EXPECT_EQ(position, all.size());
  EXPECT_EQ(logs_->since("a", position, 4096)->text, "");
  EXPECT_LE(file("a.log").size(), 150U);
  EXPECT_LE(file("a.log.1").size(), 150U);
}

TEST_F(FunctionLogTest, SinceGoesOnInPartsAndSkipsWhatRotationRemoved) {
  open({.file_bytes_max = 100});
  for (int i = 0; i < 50; ++i) logs_->of("a")->append("line number " + std::to_string(10 + i) + "\n");
  logs_->flush();
  std::string text;
  std::uint64_t position = 0;
  for (;;) {
    const auto part = logs_->since("a", position, 20);
    ASSERT_TRUE(part.ok());
    if (part->text.empty()) break;
    EXPECT_LE(part->text.size(), 20U);
    EXPECT_THAT(part->text, StartsWith("line number "));
    text += part->text;
    position = part->position;
  }
  EXPECT_EQ(position, 50U * 15U);
  EXPECT_THAT(text, EndsWith("line number 58\nline number 59\n"));
}

TEST_F(FunctionLogTest, TornLineOfACrashIsEnded) {
  logs_->of("a")->append("one\n");
  logs_.reset();
  std::ofstream(folder() + "/a.log", std::ios::app) << "tor";
  open({});
  logs_->of("a")->append("two\n");
  EXPECT_EQ(tail("a"), "one\ntor\ntwo\n");
  logs_->flush();
  EXPECT_EQ(tail("a"), "one\ntor\ntwo\n");
}

TEST_F(FunctionLogTest, ForeignOrDamagedFileIsBegunAnew) {
  std::ofstream(folder() + "/a.log") << "# thaw log from byte 99";
  logs_->of("a")->append("one\n");
  logs_->flush();
  EXPECT_EQ(tail("a"), "one\n");
}

TEST_F(FunctionLogTest, FloodIsBoundedAndCounted) {
  open({.buffer_bytes_max = 1000});
  const auto log = logs_->of("a");
  const std::string line(99, 'x');
  for (int i = 0; i < 20000; ++i) log->append(line);
  logs_->flush();
  const std::string text = tail("a", 8 << 20);
  EXPECT_THAT(text, HasSubstr("lines are missing here"));
  std::uint64_t kept = 0, missing = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    const std::string one = text.substr(at, end - at);
    if (one == line) ++kept;
    if (one.starts_with("[thaw] ")) missing += std::stoull(one.substr(7));
    at = end + 1;
  }
  EXPECT_EQ(kept + missing, 20000U);
}

TEST_F(FunctionLogTest, LinesThatTheDiskRefusedAreCountedAndFollowersGoOn) {
  logs_->of("a")->append("one\n");
  logs_->flush();
  auto position = logs_->tail("a", 100)->position;
  // A folder in the file's place: nothing can be written.
  std::filesystem::remove(folder() + "/a.log");
  std::filesystem::create_directory(folder() + "/a.log");
  logs_->of("b")->append("unharmed\n");
  open({});
  logs_->of("a")->append("lost\nlost\n");
  logs_->flush();
  std::filesystem::remove(folder() + "/a.log");
  logs_->of("a")->append("two\n");
  logs_->flush();
  EXPECT_EQ(tail("a"), "two\n[thaw] 2 lines are missing here: they could not be written in time\n");
  EXPECT_EQ(tail("b"), "unharmed\n");
  EXPECT_THAT(logs_->since("a", position, 1000)->text, StartsWith("two\n"));
}

TEST_F(FunctionLogTest, LongLineIsCut) {
  open({.line_bytes_max = 10});
  logs_->of("a")->append("short\n0123456789abcdef\nshort\n");
  EXPECT_EQ(tail("a"), "short\n0123456789 [cut]\nshort\n");
}

TEST_F(FunctionLogTest, AllLogsTogetherAreBoundedOldestFirst) {
  open({.file_bytes_max = 4000, .total_bytes_max = 20000});
  const std::string line(999, 'x');
  for (int i = 0; i < 20; ++i) {
    for (int j = 0; j < 3; ++j) logs_->of("f" + std::to_string(i))->append(line);
    logs_->flush();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_LE(bytes_in_folder(), 20000U);
  EXPECT_EQ(tail("f0"), "");
  EXPECT_EQ(tail("f19").size(), 3000U);
}

TEST_F(FunctionLogTest, EveryNameThatAFunctionMayHaveIsALog) {
  const std::string longest(model::kNameBytesMax, 'n');
  for (const std::string& name : {std::string("a_b"), std::string("_"), std::string("A-1"), longest}) {
    logs_->of(name)->append("x\n");
    EXPECT_EQ(tail(name), "x\n") << name;
  }
}

TEST_F(FunctionLogTest, NameThatCouldLeaveTheFolderIsNoLog) {
  for (const char* name : {"../evil", "a/b", "", ".", "..", "a.log", "a%2fb", "naïve"}) {
    logs_->of(name)->append("x\n");
    EXPECT_FALSE(logs_->tail(name, 100).ok()) << name;
    EXPECT_FALSE(logs_->since(name, 0, 100).ok()) << name;
    EXPECT_FALSE(logs_->remove(name).ok()) << name;
  }
  logs_->of(std::string(model::kNameBytesMax + 1, 'a'))->append("x\n");
  logs_->flush();
  EXPECT_EQ(bytes_in_folder(), 0U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(root_), {}), 1);
}

TEST_F(FunctionLogTest, RemoveTakesFilesAndWhatWaits) {
  open({.file_bytes_max = 100});
  const auto log = logs_->of("a");
  for (int i = 0; i < 20; ++i) log->append("a line of text\n");
  logs_->flush();
  log->append("waiting\n");
  ASSERT_TRUE(logs_->remove("a").ok());
  EXPECT_EQ(tail("a"), "");
  EXPECT_EQ(bytes_in_folder(), 0U);
  const std::uint64_t position = logs_->tail("a", 100)->position;
  log->append("after\n");
  logs_->flush();
  EXPECT_EQ(logs_->since("a", position, 100)->text, "after\n");
}

TEST_F(FunctionLogTest, ManyLogsAndThreadsLoseNothing) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        logs_->of("f" + std::to_string(i % 400))->append("t" + std::to_string(t) + " i" + std::to_string(i) + "\n");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  logs_->flush();
  std::uint64_t lines = 0;
  for (int i = 0; i < 400; ++i) {
    const std::string text = tail("f" + std::to_string(i));
    lines += static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
  }
  EXPECT_EQ(lines, 8000U);
}

}  // namespace
}  // namespace thaw::observe
