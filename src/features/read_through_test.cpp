#include "features/read_through.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

#include "features/counting_store_for_test.h"

namespace thaw::features {
namespace {

using ports::OnlineKey;
using ports::OnlineRow;
using std::chrono::milliseconds;
using std::chrono::seconds;

class ReadThrough : public testing::Test {
 protected:
  void open(ReadThroughSettings settings = {}) {
    auto counting = std::make_unique<CountingStore>();
    behind = counting.get();
    settings.now = [this] { return std::chrono::steady_clock::time_point(milliseconds(clock_ms.load())); };
    store = std::make_unique<ReadThroughStore>(std::move(counting), std::move(settings));
  }
  static OnlineRow row(const std::string& key, const std::string& value, std::int64_t event_ms = 1) {
    return {.key = key, .value = value, .event_ms = event_ms};
  }
  void write(const OnlineRow& one) {
    const Status done = store->write("t", std::array{one});
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  Result<std::vector<std::optional<OnlineRow>>> read_all(const std::vector<std::string>& keys) {
    std::vector<OnlineKey> asked;
    for (const std::string& key : keys) asked.push_back({"t", key});
    return store->read(asked);
  }
  // The value; "-" where there is none; the error's message.
  std::string read(const std::string& key) {
    const auto rows = read_all({key});
    if (!rows.ok()) return rows.error().message;
    const auto& found = rows->at(0);
    if (!found) return "-";
    return found->value + (found->stale ? " (stale)" : "");
  }
  void await_waits(std::uint64_t count) {
    const auto until = std::chrono::steady_clock::now() + seconds(60);
    while (store->counts().waits < count && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(milliseconds(1));
    EXPECT_GE(store->counts().waits, count);
  }

  CountingStore* behind = nullptr;
  std::unique_ptr<ReadThroughStore> store;
  std::atomic<std::int64_t> clock_ms = 1'000'000;
};

TEST_F(ReadThrough, AThousandReadsOfTwentyKeysByManyThreadsAskTwentyTimes) {
  open();
  for (int i = 0; i < 20; ++i) write(row("place" + std::to_string(i), std::to_string(i)));
  std::atomic<int> next = 0;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i)
    threads.emplace_back([&] {
      for (int n = next++; n < 1000; n = next++)
        if (read("place" + std::to_string(n % 20)) != std::to_string(n % 20)) ++wrong;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(behind->reads, 20);
  const ReadThroughCounts counts = store->counts();
  EXPECT_EQ(counts.loads, 20U);
  EXPECT_EQ(counts.misses, 20U);
  EXPECT_EQ(counts.hits + counts.waits, 980U);
  EXPECT_EQ(counts.entries, 20U);
}

TEST_F(ReadThrough, ConcurrentReadsOfAMissingKeyAskOnceAndOthersWait) {
  open();
  write(row("a", "1"));
  behind->hold();
  std::vector<std::string> got(8);
  std::vector<std::thread> threads;
  for (std::string& one : got) threads.emplace_back([&] { one = read("a"); });
  await_waits(7);
  behind->release();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(got, testing::Each("1"));
  EXPECT_EQ(behind->reads, 1);
}

TEST_F(ReadThrough, ABatchAsksForItsMissingKeysAloneInOneCall) {
  open();
  for (const char* key : {"a", "b", "c", "d"}) write(row(key, key));
  EXPECT_EQ(read("b"), "b");
  const auto rows = read_all({"a", "b", "c", "none", "a", "d"});
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->at(0)->value, "a");
  EXPECT_EQ(rows->at(1)->value, "b");
  EXPECT_EQ(rows->at(2)->value, "c");
  EXPECT_FALSE(rows->at(3));
  EXPECT_EQ(rows->at(4)->value, "a");
  EXPECT_EQ(rows->at(5)->value, "d");
  EXPECT_EQ(behind->reads, 2);
  EXPECT_EQ(behind->keys_read, 5U);  // b, then a, c, none, d
}

TEST_F(ReadThrough, BatchesThatWaitForEachOthersKeysEnd) {
  open();
  for (const char* key : {"a", "b", "c"}) write(row(key, key));
  behind->hold();
  std::thread first([&] { EXPECT_TRUE(read_all({"a", "b"}).ok()); });
  behind->await_reads(1);
  std::thread second([&] { EXPECT_TRUE(read_all({"c", "a"}).ok()); });
  behind->await_reads(2);
  std::thread third([&] { EXPECT_TRUE(read_all({"b", "c"}).ok()); });
  await_waits(3);
  behind->release();
  first.join();
  second.join();
  third.join();
  EXPECT_EQ(behind->reads, 2);
}

TEST_F(ReadThrough, FailuresAreNotKeptAndWaitersGetTheError) {
  open();
  write(row("a", "1"));
  behind->hold();
  behind->away = true;
  std::vector<std::string> got(4);
  std::vector<std::thread> threads;
  for (std::string& one : got) threads.emplace_back([&] { one = read("a"); });
  await_waits(3);
  behind->release();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(got, testing::Each("counting store: away"));
  EXPECT_EQ(behind->reads, 1);
  behind->away = false;
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(store->counts().failures, 1U);
}

TEST_F(ReadThrough, AWaitHasABound) {
  open({.wait_max = milliseconds(50)});
  write(row("a", "1"));
  behind->hold();
  std::thread first([&] { EXPECT_EQ(read("a"), "1"); });
  behind->await_reads(1);
  EXPECT_EQ(read("a"), "counting store did not answer within 50 ms");
  behind->release();
  first.join();
}

TEST_F(ReadThrough, RowsAndAbsencesHaveTimesOfTheirOwn) {
  open({.ttl = seconds(60), .negative_ttl = seconds(5)});
  write(row("a", "1"));
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(read("none"), "-");
  clock_ms += 4999;
  EXPECT_EQ(read("none"), "-");
  EXPECT_EQ(behind->reads, 2);
  clock_ms += 1;
  EXPECT_EQ(read("none"), "-");
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(behind->reads, 3);
  clock_ms += 60000;
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(behind->reads, 4);
  EXPECT_EQ(store->counts().negative, 1U);
}

TEST_F(ReadThrough, ARowIsRefreshedAheadOfItsTimeByOneReadWhileOthersGetIt) {
  open({.ttl = seconds(60)});
  write(row("a", "1"));
  EXPECT_EQ(read("a"), "1");
  clock_ms += 55000;
  behind->hold();
  std::thread one([&] { EXPECT_EQ(read("a"), "1"); });
  behind->await_reads(2);
  EXPECT_EQ(read("a"), "1");
  behind->release();
  one.join();
  clock_ms += 20000;
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(behind->reads, 2);
  clock_ms += 35000;
  behind->away = true;
  EXPECT_EQ(read("a"), "1") << "a failed refresh leaves the row";
}

TEST_F(ReadThrough, WhileTheStoreIsAwayOlderRowsAreGivenOutMarkedWithinTheirBound) {
  open({.ttl = seconds(60), .negative_ttl = seconds(5), .stale = seconds(100)});
  write(row("a", "1"));
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(read("none"), "-");
  behind->away = true;
  clock_ms += 60000;
  EXPECT_EQ(read("a"), "1 (stale)");
  EXPECT_EQ(read("none"), "counting store: away") << "that there is no row is not known any more";
  EXPECT_FALSE(read_all({"a", "other"}).ok());
  behind->away = false;
  EXPECT_EQ(read("a"), "1");
  behind->away = true;
  clock_ms += 160000;
  EXPECT_EQ(read("a"), "counting store: away");
  EXPECT_EQ(store->counts().stale, 1U);
}

TEST_F(ReadThrough, WithoutABoundForStaleRowsTheErrorComes) {
  open({.ttl = seconds(60)});
  write(row("a", "1"));
  EXPECT_EQ(read("a"), "1");
  behind->away = true;
  clock_ms += 60000;
  EXPECT_EQ(read("a"), "counting store: away");
}

TEST_F(ReadThrough, RowsThatExpiredAreNotGivenOutFromTheCache) {
  open();
  OnlineRow one = row("a", "1");
  const auto wall_ms = std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  one.expires_ms = (wall_ms + seconds(2)).count();
  write(one);
  EXPECT_EQ(read("a"), "1");
  const auto until = std::chrono::steady_clock::now() + seconds(30);
  while (read("a") == "1" && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(read("a"), "-");
  EXPECT_EQ(behind->reads, 1);
}

TEST_F(ReadThrough, WritesAreSeenAtOnceAndTheNewestWins) {
  open();
  EXPECT_EQ(read("a"), "-");
  write(row("a", "1", 10));
  EXPECT_EQ(read("a"), "1");
  write(row("a", "older", 5));
  EXPECT_EQ(read("a"), "1");
  write(row("a", "2", 20));
  EXPECT_EQ(read("a"), "2");
  EXPECT_EQ(behind->reads, 1);
  ASSERT_TRUE(store->remove("t", std::vector<std::string>{"a"}).ok());
  EXPECT_EQ(read("a"), "-");
  write(row("a", "3", 30));
  EXPECT_EQ(read("a"), "3");
  ASSERT_TRUE(store->drop("t").ok());
  EXPECT_EQ(read("a"), "-");
}

TEST_F(ReadThrough, AnAnswerFromBeforeAWriteIsNotKept) {
  open();
  write(row("a", "old", 1));
  behind->hold();
  std::thread reader([&] { EXPECT_EQ(read("a"), "old"); });
  behind->await_reads(1);
  write(row("a", "new", 2));
  // Asked anew, not made to wait for the older answer.
  std::thread later([&] { EXPECT_EQ(read("a"), "new"); });
  behind->await_reads(2);
  behind->release();
  reader.join();
  later.join();
  EXPECT_EQ(read("a"), "new");
}

TEST_F(ReadThrough, AfterAFailedWriteTheStoreIsAsked) {
  open({.stale = seconds(100)});
  write(row("a", "1", 1));
  EXPECT_EQ(read("a"), "1");
  behind->away = true;
  EXPECT_FALSE(store->write("t", std::array{row("a", "2", 2)}).ok());
  EXPECT_EQ(read("a"), "1 (stale)");
  behind->away = false;
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(behind->reads, 3);
}

TEST_F(ReadThrough, TheMemoryBoundHoldsAndTheLatestUsedStay) {
  open({.bytes_max = 1 << 20});
  for (int i = 0; i < 1000; ++i) write(row("k" + std::to_string(i), std::string(10000, 'x')));
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(read("k" + std::to_string(i)).size(), 10000U);
    EXPECT_EQ(read("k0").size(), 10000U);
    EXPECT_LE(store->counts().bytes, 1U << 20);
  }
  EXPECT_EQ(behind->reads, 1000) << "k0 was used all the time and stays";
  EXPECT_GT(store->counts().evictions, 800U);
  // One that alone is too large is not kept, and takes nothing else with it.
  const std::uint64_t entries = store->counts().entries;
  write(row("large", std::string(2 << 20, 'x')));
  EXPECT_EQ(read("large").size(), 2U << 20);
  EXPECT_EQ(store->counts().entries, entries);
}

TEST_F(ReadThrough, ReadsAndWritesByManyThreadsNeverShowAnOlderRowAfterANewerOne) {
  open();
  constexpr int kKeys = 3;
  std::array<std::atomic<std::int64_t>, kKeys> acknowledged{};
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int writer = 0; writer < 2; ++writer)
    threads.emplace_back([&, writer] {
      for (std::int64_t n = 1; n <= 2000; ++n) {
        const int key = static_cast<int>(n) % kKeys;
        const std::int64_t event_ms = 2 * n + writer;
        write(row("k" + std::to_string(key), std::to_string(event_ms), event_ms));
        std::int64_t before = acknowledged[key];
        while (before < event_ms && !acknowledged[key].compare_exchange_weak(before, event_ms)) {
        }
      }
    });
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 3; ++reader)
    readers.emplace_back([&] {
      while (!stop)
        for (int key = 0; key < kKeys; ++key) {
          const std::int64_t known = acknowledged[key];
          const auto rows = read_all({"k" + std::to_string(key)});
          if (!rows.ok() || (known != 0 && (!rows->at(0) || rows->at(0)->event_ms < known))) ++wrong;
        }
    });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(ReadThrough, WhatIsFreshIsKnownWithoutWaiting) {
  open({.ttl = seconds(60), .negative_ttl = seconds(60)});
  write(row("a", "1"));
  const std::array<OnlineKey, 2> keys = {{{"t", "a"}, {"t", "none"}}};
  EXPECT_FALSE(store->read_now(keys));
  EXPECT_EQ(read("a"), "1");
  EXPECT_FALSE(store->read_now(keys)) << "all or nothing";
  EXPECT_EQ(read("none"), "-");
  const auto rows = store->read_now(keys);
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->at(0)->value, "1");
  EXPECT_FALSE(rows->at(1));
  EXPECT_EQ(store->counts().hits, 2U);
  EXPECT_EQ(store->counts().negative, 1U);
  write(row("a", std::string((1 << 20) + 1, 'x'), 2));
  EXPECT_FALSE(store->read_now(keys)) << "more than a loop should copy";
  write(row("a", "2", 3));
  EXPECT_TRUE(store->read_now(keys));
  clock_ms += 55000;
  EXPECT_FALSE(store->read_now(keys)) << "somebody has to refresh it";
  EXPECT_EQ(behind->reads, 2);
}

TEST_F(ReadThrough, TooManyKeysAreRefused) {
  open();
  EXPECT_EQ(read_all(std::vector<std::string>(ports::kOnlineKeysMax + 1, "a")).error().kind,
            ErrorKind::invalid_argument);
}

}  // namespace
}  // namespace thaw::features
