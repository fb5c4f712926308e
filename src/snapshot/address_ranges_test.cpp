#include "snapshot/address_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <set>

namespace thaw::snapshot {
namespace {

using testing::ElementsAre;
using Range = AddressRange;

TEST(AddressRanges, RangesThatTouchBecomeOne) {
  AddressRanges ranges;
  ranges.add({10, 20});
  ranges.add({30, 40});
  ranges.add({20, 30});
  EXPECT_THAT(ranges.all(), ElementsAre(Range{10, 40}));
  ranges.add({5, 50});
  EXPECT_THAT(ranges.all(), ElementsAre(Range{5, 50}));
}

TEST(AddressRanges, SubtractingSplits) {
  AddressRanges ranges;
  ranges.add({10, 40});
  ranges.subtract({20, 30});
  EXPECT_THAT(ranges.all(), ElementsAre(Range{10, 20}, Range{30, 40}));
  ranges.subtract({0, 15});
  ranges.subtract({35, 100});
  EXPECT_THAT(ranges.all(), ElementsAre(Range{15, 20}, Range{30, 35}));
}

TEST(AddressRanges, WhatMovesTakesThePlaceOfWhatWasThere) {
  AddressRanges ranges;
  ranges.add({10, 20});
  ranges.add({100, 200});
  ranges.move(0, 120, 30);
  EXPECT_THAT(ranges.all(), ElementsAre(Range{100, 120}, Range{130, 140}, Range{150, 200}));
}

TEST(AddressRanges, KnowsWhatComesNext) {
  AddressRanges ranges;
  ranges.add({10, 20});
  EXPECT_EQ(ranges.find(9), std::nullopt);
  EXPECT_EQ(ranges.find(19), (Range{10, 20}));
  EXPECT_EQ(ranges.find(20), std::nullopt);
  EXPECT_EQ(ranges.next_start(3), 10U);
  EXPECT_EQ(ranges.next_start(10), std::numeric_limits<std::uint64_t>::max());
  EXPECT_THAT(ranges.within({15, 30}), ElementsAre(Range{15, 20}));
}

TEST(AddressRanges, BehaveAsASetOfNumbers) {
  std::mt19937 random(7);
  AddressRanges ranges;
  std::set<std::uint64_t> model;
  for (int step = 0; step < 3000; ++step) {
    const std::uint64_t start = random() % 200;
    const std::uint64_t end = start + random() % 40;
    if (random() % 2 == 0) {
      ranges.add({start, end});
      for (std::uint64_t i = start; i < end; ++i) model.insert(i);
    } else {
      ranges.subtract({start, end});
      for (std::uint64_t i = start; i < end; ++i) model.erase(i);
    }
    std::set<std::uint64_t> numbers;
    std::uint64_t before = 0;
    for (const Range& range : ranges.all()) {
      ASSERT_LT(range.start, range.end);
      ASSERT_TRUE(before == 0 || before < range.start);
      before = range.end;
      for (std::uint64_t i = range.start; i < range.end; ++i) numbers.insert(i);
    }
    ASSERT_EQ(numbers, model) << "step " << step;
  }
}

TEST(AtMost, TheSmallestGapsAreClosedFirst) {
  const std::vector<Range> ranges{{0, 10}, {11, 20}, {50, 60}, {62, 70}};
  EXPECT_THAT(at_most(ranges, 4), ElementsAre(Range{0, 10}, Range{11, 20}, Range{50, 60}, Range{62, 70}));
  EXPECT_THAT(at_most(ranges, 3), ElementsAre(Range{0, 20}, Range{50, 60}, Range{62, 70}));
  EXPECT_THAT(at_most(ranges, 2), ElementsAre(Range{0, 20}, Range{50, 70}));
  EXPECT_THAT(at_most(ranges, 1), ElementsAre(Range{0, 70}));
}

}  // namespace
}  // namespace thaw::snapshot
