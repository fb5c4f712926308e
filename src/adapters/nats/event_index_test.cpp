#include "adapters/nats/event_index.h"

#include <gtest/gtest.h>

#include <limits>

namespace thaw::adapters {
namespace {

using std::chrono::milliseconds;

class EventIndexTest : public testing::Test {
 protected:
  void put(std::uint64_t sequence, const std::string& id, const std::string& lane = "lane") {
    index_.put(sequence, id, {.lane = lane, .accepted_ms = 1, .due_ms = 0}, 10);
  }
  void give(std::uint64_t sequence, const std::string& id, std::uint64_t event, const std::string& owner) {
    index_.set(sequence, id, {.event_sequence = event, .owner = owner});
  }
  std::string pick(std::size_t count_max = 10) {
    std::int64_t next_due = std::numeric_limits<std::int64_t>::max();
    std::string ids;
    for (const auto& entry : index_.pick(count_max, {}, 1000, next_due)) ids += entry.id;
    return ids;
  }

  EventIndex index_{"me", milliseconds(1000)};
};

TEST_F(EventIndexTest, WhatWasDeletedBeforeItWasReadDoesNotComeBack) {
  put(5, "a");
  index_.erase_event(5, "a");
  put(5, "a");  // as it is read
  index_.note_seen(5);
  EXPECT_EQ(index_.events(), 0U);
  EXPECT_EQ(index_.messages(), 0U);
  put(6, "a");
  EXPECT_EQ(index_.events(), 1U);
  EXPECT_EQ(index_.bytes(), 10U);
}

TEST_F(EventIndexTest, WhatOthersHaveIsLeftToThemUntilTheyAreGone) {
  put(1, "a");
  give(2, "a", 1, "other");
  EXPECT_EQ(pick(), "");
  EXPECT_EQ(index_.taken(), 1U);
  const auto now = EventIndex::Clock::now();
  EXPECT_FALSE(index_.expire_owners(now));
  EXPECT_FALSE(index_.heard_of("other", now + milliseconds(5000)));
  EXPECT_FALSE(index_.expire_owners(now + milliseconds(5900)));
  EXPECT_TRUE(index_.expire_owners(now + milliseconds(6100)));
  EXPECT_EQ(index_.taken(), 0U);
  EXPECT_TRUE(index_.heard_of("other", now + milliseconds(6200))) << "it was only slow";
  EXPECT_EQ(pick(), "");
  index_.forget_owner("other");
  EXPECT_EQ(pick(), "a");
}

TEST_F(EventIndexTest, AStateOfAnEarlierEventUnderTheSameIdIsNone) {
  put(1, "a");
  give(2, "a", 1, "other");
  index_.erase_event(1, "a");
  EXPECT_EQ(index_.orphans(10).size(), 1U);
  put(3, "a");
  EXPECT_TRUE(index_.orphans(10).empty());
  EXPECT_EQ(pick(), "a");
}

TEST_F(EventIndexTest, ALeaseThatSomebodyElseTookOverIsOver) {
  put(1, "a");
  EXPECT_EQ(pick(), "a");
  give(2, "a", 1, "me");
  const auto handle = index_.lease({.id = "a", .sequence = 1, .state_sequence = 2});
  EXPECT_NE(index_.find(handle), nullptr);
  give(3, "a", 1, "other");
  EXPECT_EQ(index_.find(handle), nullptr);
  EXPECT_EQ(pick(), "") << "the other has it";
}

TEST_F(EventIndexTest, LeasesOutliveReadingTheStreamAgain) {
  put(1, "a");
  put(2, "b");
  EXPECT_EQ(pick(1), "a");
  give(3, "a", 1, "me");
  const auto handle = index_.lease({.id = "a", .sequence = 1, .state_sequence = 3});
  index_.begin();
  EXPECT_EQ(index_.events(), 0U);
  put(1, "a");
  put(2, "b");
  give(3, "a", 1, "me");
  EXPECT_NE(index_.find(handle), nullptr);
  EXPECT_EQ(pick(), "b");
}

TEST_F(EventIndexTest, LanesTakeTurnsFromCallToCall) {
  put(1, "a", "x");
  put(2, "b", "x");
  put(3, "c", "y");
  put(4, "d", "y");
  EXPECT_EQ(pick(1), "a");
  EXPECT_EQ(pick(1), "c");
  EXPECT_EQ(pick(1), "b");
  EXPECT_EQ(pick(1), "d");
}

}  // namespace
}  // namespace thaw::adapters
