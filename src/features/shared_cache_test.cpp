#include "features/shared_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <thread>

#include "features/counting_store_for_test.h"

namespace thaw::features {
namespace {

using ports::OnlineKey;
using ports::OnlineRow;

class SharedCache : public testing::Test {
 protected:
  SharedCache() {
    auto cache_store = std::make_unique<CountingStore>();
    auto behind_store = std::make_unique<CountingStore>();
    cache = cache_store.get();
    behind = behind_store.get();
    store = std::make_unique<SharedCacheStore>(std::move(cache_store), std::move(behind_store), SharedCacheSettings{});
  }
  static OnlineRow row(const std::string& key, const std::string& value, std::int64_t event_ms = 1) {
    return {.key = key, .value = value, .event_ms = event_ms, .expires_ms = 4'000'000'000'000};
  }
  void write(const OnlineRow& one) {
    const Status done = store->write("t", std::array{one});
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  std::optional<OnlineRow> read_row(const std::string& key) {
    const auto rows = store->read(std::array{OnlineKey{"t", key}});
    EXPECT_TRUE(rows.ok());
    return rows.ok() ? rows->front() : std::nullopt;
  }
  std::string read(const std::string& key) {
    const auto found = read_row(key);
    return found ? found->value : "-";
  }

  CountingStore* cache = nullptr;
  CountingStore* behind = nullptr;
  std::unique_ptr<SharedCacheStore> store;
};

TEST_F(SharedCache, RowsAndAbsencesAreReadFromTheStoreOnce) {
  write(row("a", "1"));
  for (int i = 0; i < 3; ++i) {
    const auto found = read_row("a");
    ASSERT_TRUE(found);
    EXPECT_EQ(found->value, "1");
    EXPECT_EQ(found->event_ms, 1);
    EXPECT_EQ(found->expires_ms, 4'000'000'000'000) << "the store's, not the cache's";
    EXPECT_EQ(read("none"), "-");
  }
  EXPECT_EQ(behind->reads, 2);
  EXPECT_EQ(store->counts().hits, 4U);
  EXPECT_EQ(store->counts().misses, 2U);
}

TEST_F(SharedCache, WritesAreSeenAtOnceAndOlderOnesDoNotCoverNewerRows) {
  EXPECT_EQ(read("a"), "-");
  write(row("a", "1", 10));
  EXPECT_EQ(read("a"), "1");
  write(row("a", "2", 20));
  EXPECT_EQ(read("a"), "2");
  write(row("a", "older", 5));
  EXPECT_EQ(read("a"), "2");
  write(row("b", "new", 20));
  write(row("b", "older", 5));
  EXPECT_EQ(read("b"), "new");
}

TEST_F(SharedCache, AReadThatIsLateWithAnOlderRowDoesNotBringItBack) {
  write(row("a", "old", 1));
  behind->hold();
  std::thread late([&] { EXPECT_EQ(read("a"), "old"); });
  behind->await_reads(1);
  write(row("a", "new", 2));
  behind->release();
  late.join();
  EXPECT_EQ(read("a"), "new");

  behind->hold();
  write(row("c", "old", 1));
  std::thread later([&] { EXPECT_EQ(read("c"), "old"); });
  behind->await_reads(3);
  ASSERT_TRUE(store->remove("t", std::array<std::string, 1>{"c"}).ok());
  behind->release();
  later.join();
  EXPECT_EQ(read("c"), "-");
}

TEST_F(SharedCache, WhileTheCacheIsAwayTheStoreIsAsked) {
  write(row("a", "1"));
  EXPECT_EQ(read("a"), "1");
  cache->away = true;
  EXPECT_EQ(read("a"), "1");
  write(row("b", "2"));
  EXPECT_EQ(read("b"), "2");
  EXPECT_GE(store->counts().failures, 3U);
  cache->away = false;
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(behind->reads, 3);
}

TEST_F(SharedCache, AnErrorOfTheStoreIsTheReadersAndCachedRowsGoOn) {
  write(row("a", "1"));
  EXPECT_EQ(read("a"), "1");
  behind->away = true;
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(store->read(std::array{OnlineKey{"t", "b"}}).error().message, "counting store: away");
}

TEST_F(SharedCache, ADroppedTableIsGone) {
  write(row("a", "1"));
  EXPECT_EQ(read("a"), "1");
  ASSERT_TRUE(store->drop("t").ok());
  EXPECT_EQ(read("a"), "-");
}

TEST_F(SharedCache, WhatTheCacheCannotHaveWrittenIsNotTaken) {
  write(row("a", "1"));
  for (const std::string& value : {std::string(), std::string("\1short"), std::string("x"), std::string(20, '\7')}) {
    ASSERT_TRUE(cache->write("t", std::array{row("a", value, std::numeric_limits<std::int64_t>::max())}).ok());
    EXPECT_EQ(read("a"), "1");
  }
}

}  // namespace
}  // namespace thaw::features
