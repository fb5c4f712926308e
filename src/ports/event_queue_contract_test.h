// What every EventQueue keeps to. An adapter's test makes one, and runs this:
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, EventQueueContract, testing::Values(&make_sqlite_fixture));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "ports/event_queue.h"

namespace thaw::ports {

// A queue under test. Its bounds: kFixtureEventsMax events, kFixtureBytesMax bytes.
class QueueFixture {
 public:
  virtual ~QueueFixture() = default;
  virtual EventQueue& queue() = 0;
  // Ends the queue as the end of its process would, and opens it again.
  virtual void reopen() = 0;
};

inline constexpr std::uint64_t kFixtureEventsMax = 100;
inline constexpr std::uint64_t kFixtureBytesMax = 20 << 20;

using MakeQueueFixture = std::unique_ptr<QueueFixture> (*)();

class EventQueueContract : public testing::TestWithParam<MakeQueueFixture> {
 protected:
  // Against hanging alone.
  static constexpr std::chrono::seconds kHang{60};

  void SetUp() override {
    fixture_ = GetParam()();
    if (fixture_ == nullptr) GTEST_SKIP() << "the server that this queue needs is not installed";
  }

  EventQueue& queue() { return fixture_->queue(); }

  static std::int64_t now_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  static NewEvent event(const std::string& id, const std::string& lane = "lane", std::int64_t due_ms = 0) {
    return {.id = id, .lane = lane, .body = "body of " + id, .accepted_ms = 1000, .due_ms = due_ms};
  }
  void put(const std::vector<NewEvent>& events) {
    const Status done = queue().put(events);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  void put(const NewEvent& one) { put(std::vector<NewEvent>{one}); }

  // As many as were asked for, however many calls that takes.
  std::vector<TakenEvent> take(std::size_t count, std::chrono::milliseconds lease = std::chrono::hours(1)) {
    std::vector<TakenEvent> taken;
    const auto until = std::chrono::steady_clock::now() + kHang;
    while (taken.size() < count && std::chrono::steady_clock::now() < until) {
      auto some = queue().take({.count_max = count - taken.size(), .lease = lease, .wait_max = kHang / 4});
      if (!some.ok()) {
        ADD_FAILURE() << some.error().message;
        break;
      }
      for (TakenEvent& one : *some) taken.push_back(std::move(one));
    }
    EXPECT_EQ(taken.size(), count);
    return taken;
  }
  bool nothing_due() {
    const auto taken = queue().take({.count_max = 10, .wait_max = std::chrono::milliseconds(300)});
    return taken.ok() && taken->empty();
  }
  void settle(Settlement settlement) {
    const Status done = queue().settle(std::vector<Settlement>{std::move(settlement)});
    ASSERT_TRUE(done.ok()) << done.error().message;
  }

  std::unique_ptr<QueueFixture> fixture_;
};

TEST_P(EventQueueContract, WhatIsPutIsTakenOnceAndGoesWhenItIsDone) {
  put(event("a"));
  const auto taken = take(1);
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].id, "a");
  EXPECT_EQ(taken[0].lane, "lane");
  EXPECT_EQ(taken[0].body, "body of a");
  EXPECT_EQ(taken[0].accepted_ms, 1000);
  EXPECT_EQ(taken[0].attempts, 0U);
  EXPECT_FALSE(taken[0].again);
  EXPECT_TRUE(nothing_due());
  EXPECT_EQ(queue().counts()->events, 1U);
  EXPECT_EQ(queue().counts()->taken, 1U);
  settle({.handle = taken[0].handle});
  EXPECT_EQ(queue().counts()->events, 0U);
  EXPECT_EQ(queue().counts()->bytes, 0U);
  fixture_->reopen();
  EXPECT_TRUE(nothing_due());
}

TEST_P(EventQueueContract, BodiesAreAnyBytes) {
  std::string bytes(1 << 20, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13);
  NewEvent large = event("large");
  large.body = bytes;
  put(large);
  NewEvent empty = event("none");
  empty.body.clear();
  put(empty);
  std::map<std::string, std::string> bodies;
  for (const TakenEvent& one : take(2)) bodies[one.id] = one.body;
  EXPECT_EQ(bodies["none"], "");
  EXPECT_TRUE(bodies["large"] == bytes);
}

TEST_P(EventQueueContract, AnIdThatIsThereIsNotPutTwice) {
  put(event("same"));
  put({event("same"), event("other")});
  std::set<std::string> ids;
  for (const TakenEvent& one : take(2)) ids.insert(one.id);
  EXPECT_EQ(ids, (std::set<std::string>{"same", "other"}));
  EXPECT_TRUE(nothing_due());
}

TEST_P(EventQueueContract, WhatIsNotDueWaits) {
  const std::int64_t due_ms = now_ms() + 1500;
  put(event("later", "lane", due_ms));
  EXPECT_TRUE(nothing_due());
  const auto taken = take(1);
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_GE(now_ms(), due_ms);
}

TEST_P(EventQueueContract, ARetryComesBackWithItsCounts) {
  put(event("a"));
  auto taken = take(1);
  ASSERT_EQ(taken.size(), 1U);
  settle({.handle = taken[0].handle,
          .kind = Settlement::Kind::retry,
          .due_ms = now_ms() + 1200,
          .attempts = 2,
          .failures = 3});
  EXPECT_TRUE(nothing_due());
  taken = take(1);
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].body, "body of a");
  EXPECT_EQ(taken[0].accepted_ms, 1000);
  EXPECT_EQ(taken[0].attempts, 2U);
  EXPECT_EQ(taken[0].failures, 3U);
  EXPECT_FALSE(taken[0].again) << "it was told what became of it";
}

TEST_P(EventQueueContract, WhatIsDoneIsReplacedByWhatFollows) {
  put(event("a"));
  auto taken = take(1);
  ASSERT_EQ(taken.size(), 1U);
  settle({.handle = taken[0].handle, .next = {event("b", "elsewhere"), event("c", "lane", now_ms() + 1200)}});
  EXPECT_EQ(queue().counts()->events, 2U);
  fixture_->reopen();
  taken = take(1);
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].id, "b");
  EXPECT_EQ(taken[0].lane, "elsewhere");
  EXPECT_EQ(taken[0].body, "body of b");
  EXPECT_FALSE(taken[0].again);
  EXPECT_TRUE(nothing_due());
  EXPECT_EQ(take(1)[0].id, "c");
}

TEST_P(EventQueueContract, AFullQueueHasRoomForWhatFollows) {
  std::vector<NewEvent> events;
  for (std::uint64_t i = 0; i < kFixtureEventsMax; ++i) events.push_back(event("e" + std::to_string(i)));
  put(events);
  settle({.handle = take(1)[0].handle, .next = {event("b"), event("c")}});
  EXPECT_EQ(queue().counts()->events, kFixtureEventsMax + 1);
}

TEST_P(EventQueueContract, ALeaseThatRunsOutGivesTheEventOutAgain) {
  put(event("a"));
  const auto first = take(1, std::chrono::milliseconds(1000));
  ASSERT_EQ(first.size(), 1U);
  const auto second = take(1);
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].id, "a");
  EXPECT_TRUE(second[0].again);
  // The first holder comes too late.
  settle({.handle = first[0].handle, .kind = Settlement::Kind::retry, .due_ms = 0, .attempts = 7});
  EXPECT_TRUE(nothing_due());
  settle({.handle = second[0].handle});
  EXPECT_EQ(queue().counts()->events, 0U);
}

TEST_P(EventQueueContract, ALeaseCanBeExtended) {
  put(event("a"));
  const auto taken = take(1, std::chrono::milliseconds(2000));
  ASSERT_EQ(taken.size(), 1U);
  settle({.handle = taken[0].handle, .kind = Settlement::Kind::extend, .due_ms = now_ms() + 3600'000});
  const auto more = queue().take({.wait_max = std::chrono::milliseconds(2500)});
  ASSERT_TRUE(more.ok()) << more.error().message;
  EXPECT_TRUE(more->empty());
}

TEST_P(EventQueueContract, ARestartGivesTakenEventsOutAgainAndKeepsTheOthers) {
  put({event("taken"), event("waiting")});
  const auto before = take(1);
  ASSERT_EQ(before.size(), 1U);
  fixture_->reopen();
  std::map<std::string, bool> again;
  for (const TakenEvent& one : take(2, std::chrono::minutes(5))) again[one.id] = one.again;
  ASSERT_EQ(again.size(), 2U);
  for (const auto& [id, was] : again) EXPECT_EQ(was, id == before[0].id) << id;
}

TEST_P(EventQueueContract, LanesTakeTurns) {
  std::vector<NewEvent> events;
  for (int i = 0; i < 20; ++i) events.push_back(event("busy-" + std::to_string(i), "busy"));
  for (int i = 0; i < 2; ++i) events.push_back(event("quiet-" + std::to_string(i), "quiet"));
  put(events);
  std::size_t quiet = 0;
  for (const TakenEvent& one : take(4)) quiet += one.lane == "quiet" ? 1 : 0;
  EXPECT_EQ(quiet, 2U);
}

TEST_P(EventQueueContract, ALaneWithoutRoomIsPassedOver) {
  put({event("a", "full"), event("b", "full"), event("c", "free")});
  const auto room = [](std::string_view lane) -> std::size_t { return lane == "full" ? 0 : 1; };
  std::vector<TakenEvent> taken;
  const auto until = std::chrono::steady_clock::now() + kHang;
  while (taken.empty() && std::chrono::steady_clock::now() < until) {
    auto some = queue().take({.count_max = 3, .wait_max = std::chrono::milliseconds(200), .room = room});
    ASSERT_TRUE(some.ok()) << some.error().message;
    taken = std::move(*some);
  }
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].id, "c");
  std::set<std::string> rest;
  for (const TakenEvent& one : take(2)) rest.insert(one.id);
  EXPECT_EQ(rest, (std::set<std::string>{"a", "b"}));
}

TEST_P(EventQueueContract, TheDeadAreKeptWithTheirReason) {
  put(event("a"));
  const auto taken = take(1);
  ASSERT_EQ(taken.size(), 1U);
  settle({.handle = taken[0].handle, .kind = Settlement::Kind::bury, .reason = "no such function"});
  EXPECT_EQ(queue().counts()->events, 0U);
  fixture_->reopen();
  EXPECT_EQ(queue().counts()->dead, 1U);
  const auto dead = queue().dead(10);
  ASSERT_TRUE(dead.ok()) << dead.error().message;
  ASSERT_EQ(dead->size(), 1U);
  EXPECT_EQ(dead->front().id, "a");
  EXPECT_EQ(dead->front().body, "body of a");
  EXPECT_EQ(dead->front().reason, "no such function");
  EXPECT_EQ(dead->front().accepted_ms, 1000);
  EXPECT_TRUE(nothing_due());
}

TEST_P(EventQueueContract, AFullQueueSaysSoAndTakesAgainWhenThereIsRoom) {
  std::vector<NewEvent> events;
  for (std::uint64_t i = 0; i < kFixtureEventsMax; ++i) events.push_back(event("e" + std::to_string(i)));
  put(events);
  EXPECT_EQ(queue().put(std::vector<NewEvent>{event("more")}).error().kind, ErrorKind::overloaded);
  settle({.handle = take(1)[0].handle});
  put(event("more"));
}

TEST_P(EventQueueContract, AQueueFullOfBytesSaysSo) {
  NewEvent large = event("large");
  large.body.assign(kEventBodyBytesMax, 'x');
  put(large);
  std::vector<NewEvent> rest;
  for (int i = 0; i < 2; ++i) {
    rest.push_back(large);
    rest.back().id = "rest" + std::to_string(i);
  }
  EXPECT_EQ(queue().put(rest).error().kind, ErrorKind::overloaded);
  EXPECT_EQ(queue().counts()->events, 1U) << "all or none";
}

TEST_P(EventQueueContract, WhatIsBeyondItsBoundIsRefused) {
  NewEvent bad = event("a");
  bad.body.assign(kEventBodyBytesMax + 1, 'x');
  EXPECT_EQ(queue().put(std::vector<NewEvent>{bad}).error().kind, ErrorKind::invalid_argument);
  for (const std::string& id : {std::string(), std::string(kEventIdBytesMax + 1, 'x')}) {
    EXPECT_EQ(queue().put(std::vector<NewEvent>{event(id)}).error().kind, ErrorKind::invalid_argument);
    EXPECT_EQ(queue().put(std::vector<NewEvent>{event("a", id)}).error().kind, ErrorKind::invalid_argument);
  }
}

TEST_P(EventQueueContract, APutAndAWakeEndTheWaitOfATake) {
  std::thread other([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    put(event("a"));
  });
  EXPECT_EQ(take(1).size(), 1U);
  other.join();
  const auto began = std::chrono::steady_clock::now();
  std::thread waker([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    queue().wake();
  });
  const auto nothing = queue().take({.wait_max = kHang});
  waker.join();
  ASSERT_TRUE(nothing.ok());
  EXPECT_TRUE(nothing->empty());
  EXPECT_LT(std::chrono::steady_clock::now() - began, kHang / 2);
}

TEST_P(EventQueueContract, ManyThreadsAtOnceLoseNothing) {
  constexpr int kThreads = 4;
  constexpr int kEach = 20;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < kEach; ++i)
        put(event(std::to_string(t) + "-" + std::to_string(i), "lane" + std::to_string(t)));
    });
  }
  std::set<std::string> seen;
  for (int i = 0; i < kThreads * kEach; ++i) {
    const auto taken = take(1);
    ASSERT_EQ(taken.size(), 1U);
    seen.insert(taken[0].id);
    settle({.handle = taken[0].handle});
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(kThreads * kEach));
  EXPECT_EQ(queue().counts()->events, 0U);
}

}  // namespace thaw::ports
