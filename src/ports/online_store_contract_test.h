// What every OnlineStore keeps to. An adapter's test makes one, and runs this:
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, OnlineStoreContract, testing::Values(&make_sqlite_fixture));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ports/online_store.h"

namespace thaw::ports {

// A store under test, without tables at first.
class OnlineStoreFixture {
 public:
  virtual ~OnlineStoreFixture() = default;
  virtual OnlineStore& store() = 0;
  // Ends the store as the end of its process would, and opens it again. False where what is stored is not durable.
  virtual bool reopen() = 0;
};

using MakeOnlineStoreFixture = std::unique_ptr<OnlineStoreFixture> (*)();

class OnlineStoreContract : public testing::TestWithParam<MakeOnlineStoreFixture> {
 protected:
  void SetUp() override {
    fixture_ = GetParam()();
    if (fixture_ == nullptr) GTEST_SKIP() << "the server that this store needs is not installed";
  }

  OnlineStore& store() { return fixture_->store(); }

  static std::int64_t now_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  static OnlineRow row(std::string key, std::string value, std::int64_t event_ms = 1000) {
    return {.key = std::move(key), .value = std::move(value), .event_ms = event_ms, .created_ms = 2000};
  }
  void write(std::string_view table, const std::vector<OnlineRow>& rows) {
    const Status done = store().write(table, rows);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  void write(std::string_view table, const OnlineRow& one) { write(table, std::vector{one}); }

  std::optional<OnlineRow> read_one(std::string_view table, std::string_view key) {
    const auto rows = store().read(std::vector<OnlineKey>{{table, key}});
    if (!rows.ok()) {
      ADD_FAILURE() << rows.error().message;
      return std::nullopt;
    }
    EXPECT_EQ(rows->size(), 1U);
    return rows->empty() ? std::nullopt : rows->front();
  }
  // "(none)" where there is no row.
  std::string value_of(std::string_view table, std::string_view key) {
    const auto found = read_one(table, key);
    return found ? found->value : "(none)";
  }
  std::vector<std::string> keys_of(std::string_view table, std::string_view after = {}, std::size_t count_max = 100) {
    std::vector<std::string> keys;
    const auto rows = store().scan(table, after, count_max);
    if (!rows.ok()) {
      ADD_FAILURE() << rows.error().message;
      return keys;
    }
    for (const OnlineRow& one : *rows) keys.push_back(one.key);
    return keys;
  }

  std::unique_ptr<OnlineStoreFixture> fixture_;
};

TEST_P(OnlineStoreContract, WhatIsWrittenIsReadWhole) {
  write("drivers",
        {.key = "k", .value = "v", .event_ms = 1234, .created_ms = 5678, .expires_ms = now_ms() + 3'600'000});
  const auto found = read_one("drivers", "k");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->key, "k");
  EXPECT_EQ(found->value, "v");
  EXPECT_EQ(found->event_ms, 1234);
  EXPECT_EQ(found->created_ms, 5678);
}

TEST_P(OnlineStoreContract, WhatIsNotThereIsNothing) {
  EXPECT_FALSE(read_one("no_such_table", "k"));
  write("drivers", row("k", "v"));
  EXPECT_FALSE(read_one("drivers", "other"));
  EXPECT_FALSE(read_one("other", "k"));
  EXPECT_TRUE(keys_of("no_such_table").empty());
  EXPECT_TRUE(store().read({})->empty());
  EXPECT_TRUE(store().write("drivers", {}).ok());
}

TEST_P(OnlineStoreContract, AnswersAreInTheOrderOfTheKeysAcrossTables) {
  write("a", {row("1", "a1"), row("2", "a2")});
  write("b", {row("1", "b1")});
  const std::vector<OnlineKey> keys = {{"b", "1"}, {"a", "2"}, {"b", "2"}, {"a", "1"}, {"a", "2"}, {"c", "1"}};
  const auto rows = store().read(keys);
  ASSERT_TRUE(rows.ok()) << rows.error().message;
  std::vector<std::string> values;
  for (const auto& one : *rows) values.push_back(one ? one->value : "-");
  EXPECT_THAT(values, testing::ElementsAre("b1", "a2", "-", "a1", "a2", "-"));
}

TEST_P(OnlineStoreContract, KeysAndValuesAreBytes) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  const std::vector<std::string> keys = {std::string(1, '\0'),
                                         std::string(2, '\0'),
                                         "a",
                                         std::string("a\0b", 3),
                                         all,
                                         "\xff",
                                         std::string(kOnlineKeyBytesMax, 'x')};
  std::vector<OnlineRow> rows;
  for (const std::string& key : keys) rows.push_back(row(key, all + key));
  rows.push_back(row("empty", ""));
  write("bytes", rows);
  for (const std::string& key : keys) EXPECT_EQ(value_of("bytes", key), all + key);
  EXPECT_EQ(value_of("bytes", "empty"), "");
  EXPECT_EQ(value_of("bytes", std::string(3, '\0')), "(none)");
}

TEST_P(OnlineStoreContract, TheLaterEventStays) {
  write("t", row("k", "second", 2000));
  write("t", row("k", "first", 1000));
  EXPECT_EQ(value_of("t", "k"), "second");
  write("t", row("k", "third", 3000));
  EXPECT_EQ(value_of("t", "k"), "third");
  EXPECT_EQ(read_one("t", "k")->event_ms, 3000);
}

TEST_P(OnlineStoreContract, OfEqualEventsTheLaterCreatedStaysAndThenTheLaterWritten) {
  const auto made = [](std::string value, std::int64_t created_ms) {
    return OnlineRow{.key = "k", .value = std::move(value), .event_ms = 1000, .created_ms = created_ms};
  };
  write("t", made("b", 20));
  write("t", made("a", 10));
  EXPECT_EQ(value_of("t", "k"), "b");
  write("t", made("c", 20));
  EXPECT_EQ(value_of("t", "k"), "c");
  write("t", made("d", 30));
  EXPECT_EQ(value_of("t", "k"), "d");
}

TEST_P(OnlineStoreContract, TheRuleHoldsWithinOneWriteToo) {
  write("t", {row("k", "late", 3000), row("k", "early", 1000), row("l", "one", 1000), row("l", "two", 1000)});
  EXPECT_EQ(value_of("t", "k"), "late");
  EXPECT_EQ(value_of("t", "l"), "two");
}

TEST_P(OnlineStoreContract, TimesBefore1970Order) {
  write("t", row("k", "later", -1000));
  write("t", row("k", "earlier", -2000));
  const auto found = read_one("t", "k");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->value, "later");
  EXPECT_EQ(found->event_ms, -1000);
}

TEST_P(OnlineStoreContract, WhatHasExpiredIsNotGivenOut) {
  OnlineRow gone = row("gone", "v", 9000);
  gone.expires_ms = now_ms() - 1;
  OnlineRow stays = row("stays", "v");
  stays.expires_ms = now_ms() + 3'600'000;
  write("t", {gone, stays, row("ever", "v")});
  EXPECT_FALSE(read_one("t", "gone"));
  EXPECT_TRUE(read_one("t", "stays"));
  EXPECT_THAT(keys_of("t"), testing::ElementsAre("ever", "stays"));
  // It is in nobody's way, however late its event was.
  write("t", row("gone", "anew", 1000));
  EXPECT_EQ(value_of("t", "gone"), "anew");
}

TEST_P(OnlineStoreContract, ScansGiveAllKeysInOrderPageByPage) {
  std::vector<OnlineRow> rows;
  for (const char* key : {"d", "a", "c", "b", "\xfe"}) rows.push_back(row(key, std::string("v") + key));
  write("t", rows);
  write("u", row("x", "v"));
  EXPECT_THAT(keys_of("t", "", 2), testing::ElementsAre("a", "b"));
  EXPECT_THAT(keys_of("t", "b", 2), testing::ElementsAre("c", "d"));
  EXPECT_THAT(keys_of("t", "d", 2), testing::ElementsAre("\xfe"));
  EXPECT_THAT(keys_of("t", "bb", 10), testing::ElementsAre("c", "d", "\xfe"));
  EXPECT_TRUE(keys_of("t", "\xfe").empty());
  const auto all = store().scan("t", "", 10);
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->front().value, "va");
  EXPECT_EQ(all->front().event_ms, 1000);
}

TEST_P(OnlineStoreContract, RemoveAndDropTakeWhatTheyName) {
  write("t", {row("a", "1"), row("b", "2"), row("c", "3")});
  write("u", row("a", "4"));
  ASSERT_TRUE(store().remove("t", std::vector<std::string>{"a", "nothing"}).ok());
  ASSERT_TRUE(store().remove("none", std::vector<std::string>{"a"}).ok());
  EXPECT_THAT(keys_of("t"), testing::ElementsAre("b", "c"));
  ASSERT_TRUE(store().drop("t").ok());
  ASSERT_TRUE(store().drop("t").ok());
  EXPECT_TRUE(keys_of("t").empty());
  EXPECT_EQ(value_of("t", "b"), "(none)");
  EXPECT_EQ(value_of("u", "a"), "4");
  // What was removed leaves no time behind that a new row would have to beat.
  write("t", row("b", "again", 1));
  EXPECT_EQ(value_of("t", "b"), "again");
}

TEST_P(OnlineStoreContract, ManyRowsGoInAndComeOutAtOnce) {
  std::vector<OnlineRow> rows;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kOnlineKeysMax; ++i) names.push_back("key" + std::to_string(i));
  for (const std::string& name : names) rows.push_back(row(name, "value of " + name));
  write("many", rows);
  std::vector<OnlineKey> keys;
  for (const std::string& name : names) keys.push_back({"many", name});
  const auto found = store().read(keys);
  ASSERT_TRUE(found.ok()) << found.error().message;
  ASSERT_EQ(found->size(), names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    ASSERT_TRUE((*found)[i]);
    ASSERT_EQ((*found)[i]->value, "value of " + names[i]);
  }
}

TEST_P(OnlineStoreContract, WhatIsBeyondABoundIsRefusedAndNamed) {
  const std::string table(kOnlineTableBytesMax + 1, 't');
  const std::string key(kOnlineKeyBytesMax + 1, 'k');
  const auto refused = [](const auto& result) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind, ErrorKind::invalid_argument) << result.error().message;
    EXPECT_FALSE(result.error().message.empty());
  };
  refused(store().write(table, std::vector{row("k", "v")}));
  refused(store().write("", std::vector{row("k", "v")}));
  refused(store().write("t", std::vector{row(key, "v")}));
  refused(store().write("t", std::vector{row("", "v")}));
  refused(store().write("t", std::vector{row("k", std::string(kOnlineValueBytesMax + 1, 'v'))}));
  refused(store().write("t", std::vector<OnlineRow>(kOnlineKeysMax + 1, row("k", "v"))));
  refused(store().read(std::vector<OnlineKey>(kOnlineKeysMax + 1, OnlineKey{"t", "k"})));
  EXPECT_TRUE(keys_of("t").empty());
  write("t", row("k", std::string(kOnlineValueBytesMax, 'v')));
  EXPECT_EQ(value_of("t", "k").size(), kOnlineValueBytesMax);
}

TEST_P(OnlineStoreContract, RowsOutliveTheProcess) {
  write("t", {row("a", "1"), row("b", "2")});
  if (!fixture_->reopen()) GTEST_SKIP() << "this store keeps nothing";
  EXPECT_THAT(keys_of("t"), testing::ElementsAre("a", "b"));
  EXPECT_EQ(value_of("t", "b"), "2");
  write("t", row("a", "older", 1));
  EXPECT_EQ(value_of("t", "a"), "1");
}

// A reader sees a row whole, of one write or the next.
TEST_P(OnlineStoreContract, ReadersAndWritersGoTogether) {
  constexpr int kWrites = 60;
  std::atomic<bool> done{false};
  std::atomic<int> torn{0};
  std::vector<std::thread> readers;
  write("t", row("k", std::string(5000, 'a'), 0));
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        const auto rows = store().read(std::vector<OnlineKey>{{"t", "k"}});
        if (!rows.ok() || !rows->front() || rows->front()->value != std::string(5000, rows->front()->value[0])) ++torn;
      }
    });
  }
  for (int i = 0; i < kWrites; ++i) write("t", row("k", std::string(5000, static_cast<char>('a' + i % 26)), i + 1));
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn, 0);
}

}  // namespace thaw::ports
