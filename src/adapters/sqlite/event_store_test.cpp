#include "adapters/sqlite/event_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/folder_for_test.h"
#include "base/sys.h"
#include "ports/event_queue_contract_test.h"

namespace thaw::adapters {
namespace {

using ports::EventQueueContract;

class SqliteFixture final : public ports::QueueFixture {
 public:
  SqliteFixture() { open(); }
  ports::EventQueue& queue() override { return *queue_; }
  void reopen() override { open(); }

 private:
  void open() {
    queue_.reset();
    auto opened = open_event_store(folder_.at("events.db"),
                                   {.events_max = ports::kFixtureEventsMax, .bytes_max = ports::kFixtureBytesMax});
    if (!opened.ok()) {
      ADD_FAILURE() << opened.error().message;
      std::abort();
    }
    queue_ = std::move(*opened);
  }

  FolderForTest folder_;
  std::unique_ptr<ports::EventQueue> queue_;
};

std::unique_ptr<ports::QueueFixture> make_sqlite_fixture() { return std::make_unique<SqliteFixture>(); }

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Sqlite, EventQueueContract, testing::Values(&adapters::make_sqlite_fixture));
}

namespace thaw::adapters {
namespace {

ports::NewEvent event(const std::string& id, std::string body = "body") {
  return {.id = id, .lane = "lane", .body = std::move(body)};
}

TEST(EventStore, TheFileIsForItsOwnerOnly) {
  const FolderForTest folder;
  ASSERT_TRUE(open_event_store(folder.at("events.db"), {}).ok());
  struct stat info {};
  ASSERT_EQ(::stat(folder.at("events.db").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST(EventStore, WhatIsNoDatabaseIsDamagedAndNamed) {
  const FolderForTest folder;
  ASSERT_TRUE(sys::write_file_atomically(folder.at("events.db"), std::string(8192, 'x')).ok());
  const auto opened = open_event_store(folder.at("events.db"), {});
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().kind, ErrorKind::corrupt);
  EXPECT_THAT(opened.error().message, testing::HasSubstr("events.db"));
}

TEST(EventStore, TheOldestOfTheDeadGoBeyondTheirBound) {
  const FolderForTest folder;
  auto opened = open_event_store(folder.at("events.db"), {.dead_max = 3, .dead_bytes_max = 10'000});
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  ports::EventQueue& queue = **opened;
  const auto bury = [&](const std::string& id, std::size_t bytes) {
    ASSERT_TRUE(queue.put(std::vector{event(id, std::string(bytes, 'x'))}).ok());
    const auto taken = queue.take({});
    ASSERT_TRUE(taken.ok());
    ASSERT_EQ(taken->size(), 1U);
    ASSERT_TRUE(queue
                    .settle(std::vector<ports::Settlement>{
                        {.handle = taken->front().handle, .kind = ports::Settlement::Kind::bury, .reason = "why"}})
                    .ok());
  };
  const auto ids = [&] {
    std::string all;
    const auto dead = queue.dead(10);
    for (const auto& one : *dead) all += one.id;
    return all;
  };
  for (const char* id : {"a", "b", "c", "d", "e"}) bury(id, 10);
  EXPECT_EQ(ids(), "edc");
  bury("f", 9'985);
  EXPECT_EQ(ids(), "fe");
  EXPECT_EQ(queue.counts()->dead, 2U);
}

// The process dies at once, without a word to SQLite, right after each answer.
TEST(EventStore, WhatWasPutSurvivesAKill) {
  const FolderForTest folder;
  for (int round = 0; round < 5; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto opened = open_event_store(folder.at("events.db"), {});
      if (!opened.ok()) ::_exit(1);
      if (!(*opened)->put(std::vector{event("round" + std::to_string(round))}).ok()) ::_exit(2);
      const auto taken = (*opened)->take({.count_max = 100});
      if (!taken.ok() || taken->size() != static_cast<std::size_t>(round) + 1) ::_exit(3);
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "exit status " << WEXITSTATUS(status);
  }
  auto opened = open_event_store(folder.at("events.db"), {});
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto taken = (*opened)->take({.count_max = 100});
  ASSERT_TRUE(taken.ok());
  EXPECT_EQ(taken->size(), 5U);
  for (const auto& one : *taken) EXPECT_TRUE(one.again);
}

}  // namespace
}  // namespace thaw::adapters
