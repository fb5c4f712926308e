#include "adapters/sqlite/online_store.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/folder_for_test.h"
#include "base/sys.h"
#include "ports/online_store_contract_test.h"

namespace thaw::adapters {
namespace {

using ports::OnlineRow;

class SqliteFixture final : public ports::OnlineStoreFixture {
 public:
  SqliteFixture() { open(); }
  ports::OnlineStore& store() override { return *store_; }
  bool reopen() override {
    open();
    return true;
  }

 private:
  void open() {
    store_.reset();
    auto opened = open_embedded_online_store(folder_.at("online.db"), {});
    if (!opened.ok()) {
      ADD_FAILURE() << opened.error().message;
      std::abort();
    }
    store_ = std::move(*opened);
  }

  FolderForTest folder_;
  std::unique_ptr<ports::OnlineStore> store_;
};

std::unique_ptr<ports::OnlineStoreFixture> make_sqlite_fixture() { return std::make_unique<SqliteFixture>(); }

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Sqlite, OnlineStoreContract, testing::Values(&adapters::make_sqlite_fixture));
}

namespace thaw::adapters {
namespace {

OnlineRow row(std::string key, std::string value, std::int64_t event_ms = 1000) {
  return {.key = std::move(key), .value = std::move(value), .event_ms = event_ms};
}

TEST(EmbeddedOnlineStore, TheFileIsForItsOwnerOnly) {
  const FolderForTest folder;
  ASSERT_TRUE(open_embedded_online_store(folder.at("online.db"), {}).ok());
  struct stat info {};
  ASSERT_EQ(::stat(folder.at("online.db").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST(EmbeddedOnlineStore, WhatIsNoDatabaseIsDamagedAndNamed) {
  const FolderForTest folder;
  ASSERT_TRUE(sys::write_file_atomically(folder.at("online.db"), std::string(8192, 'x')).ok());
  const auto opened = open_embedded_online_store(folder.at("online.db"), {});
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().kind, ErrorKind::corrupt);
  EXPECT_THAT(opened.error().message, testing::HasSubstr("online.db"));
}

TEST(EmbeddedOnlineStore, DamageInTheMiddleIsSaidNotServed) {
  const FolderForTest folder;
  const std::string path = folder.at("online.db");
  {
    auto opened = open_embedded_online_store(path, {});
    ASSERT_TRUE(opened.ok());
    std::vector<OnlineRow> rows;
    for (int i = 0; i < 2000; ++i) rows.push_back(row("key" + std::to_string(i), std::string(100, 'v')));
    ASSERT_TRUE((*opened)->write("t", rows).ok());
  }
  std::string bytes = read_for_test(path);
  ASSERT_GT(bytes.size(), 20U * 8192);
  // The first pages stay: schema and views.
  for (std::size_t at = 8UL * 8192; at + 8192 <= bytes.size(); at += 8192) bytes.replace(at, 8192, 8192, '\xff');
  write_for_test(path, bytes);
  auto opened = open_embedded_online_store(path, {});
  if (!opened.ok()) {
    EXPECT_EQ(opened.error().kind, ErrorKind::corrupt) << opened.error().message;
    return;
  }
  bool said = false;
  for (int i = 0; i < 2000 && !said; ++i) {
    const std::string key = "key" + std::to_string(i);
    const auto rows = (*opened)->read(std::vector<ports::OnlineKey>{{"t", key}});
    if (rows.ok()) {
      if (rows->front()) {
        EXPECT_EQ(rows->front()->value, std::string(100, 'v'));
      }
      continue;
    }
    EXPECT_EQ(rows.error().kind, ErrorKind::corrupt) << rows.error().message;
    said = true;
  }
  EXPECT_TRUE(said);
}

// The process dies at once, without a word to SQLite, right after each answer.
TEST(EmbeddedOnlineStore, WhatWasWrittenSurvivesAKill) {
  const FolderForTest folder;
  for (int round = 0; round < 5; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto opened = open_embedded_online_store(folder.at("online.db"), {});
      if (!opened.ok()) ::_exit(1);
      if (!(*opened)->write("t", std::vector{row("round" + std::to_string(round), "v")}).ok()) ::_exit(2);
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "exit status " << WEXITSTATUS(status);
  }
  auto opened = open_embedded_online_store(folder.at("online.db"), {});
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto rows = (*opened)->scan("t", "", 100);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->size(), 5U);
}

// Writes that wait for each other go together: each has its answer once it is stored.
TEST(EmbeddedOnlineStore, ManyWritersAtOnceAllHaveTheirRows) {
  constexpr int kWriters = 16;
  constexpr int kWrites = 20;
  const FolderForTest folder;
  auto opened = open_embedded_online_store(folder.at("online.db"), {});
  ASSERT_TRUE(opened.ok());
  std::atomic<int> lost{0};
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      const std::string table = "t" + std::to_string(writer % 3);
      for (int i = 0; i < kWrites; ++i) {
        const std::string key = std::to_string(writer) + "." + std::to_string(i);
        if (!(*opened)->write(table, std::vector{row(key, key)}).ok()) ++lost;
        const auto rows = (*opened)->read(std::vector<ports::OnlineKey>{{table, key}});
        if (!rows.ok() || !rows->front() || rows->front()->value != key) ++lost;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(lost, 0);
  std::size_t found = 0;
  for (const char* table : {"t0", "t1", "t2"}) found += (*opened)->scan(table, {}, 1000)->size();
  EXPECT_EQ(found, static_cast<std::size_t>(kWriters * kWrites));
}

TEST(EmbeddedOnlineStore, WhatHasExpiredMakesRoom) {
  const FolderForTest folder;
  const std::string path = folder.at("online.db");
  OnlineRow gone = row("gone", "v");
  gone.expires_ms = 1;
  for (int i = 0; i < 2; ++i) {
    auto opened = open_embedded_online_store(path, {});
    ASSERT_TRUE(opened.ok());
    // The first write of a process sweeps.
    ASSERT_TRUE((*opened)->write("t", std::vector{i == 0 ? gone : row("stays", "v")}).ok());
  }
  sqlite3* database = nullptr;
  ASSERT_EQ(::sqlite3_open(path.c_str(), &database), SQLITE_OK);
  sqlite3_stmt* count = nullptr;
  ASSERT_EQ(::sqlite3_prepare_v2(database, "SELECT count(*) FROM rows", -1, &count, nullptr), SQLITE_OK);
  ASSERT_EQ(::sqlite3_step(count), SQLITE_ROW);
  EXPECT_EQ(::sqlite3_column_int64(count, 0), 1);
  ::sqlite3_finalize(count);
  ::sqlite3_close(database);
}

}  // namespace
}  // namespace thaw::adapters
