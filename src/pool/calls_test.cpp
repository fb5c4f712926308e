#include "pool/calls.h"

#include <gtest/gtest.h>

namespace thaw::pool {
namespace {

TEST(CallDepths, TheDeepestThatRunsCounts) {
  CallDepths depths;
  EXPECT_EQ(depths.most(), 0U);
  depths.enter(0);
  depths.enter(3);
  depths.enter(3);
  EXPECT_EQ(depths.most(), 3U);
  depths.leave(3);
  EXPECT_EQ(depths.most(), 3U);
  depths.leave(3);
  EXPECT_EQ(depths.most(), 0U);
}

TEST(CallDepths, WhatIsAskedBehindAnAnswerBelongsToIt) {
  CallDepths depths;
  depths.enter(5);
  depths.leave(5);
  EXPECT_EQ(depths.most(), 5U);
  depths.enter(0);
  EXPECT_EQ(depths.most(), 0U);
  depths.leave(0);
  EXPECT_EQ(depths.most(), 0U);
}

TEST(CallDepths, NoNumberLeavesTheTable) {
  CallDepths depths;
  depths.enter(UINT32_MAX);
  EXPECT_EQ(depths.most(), model::kCallHopsMax);
  depths.leave(UINT32_MAX);
  depths.enter(0);
  EXPECT_EQ(depths.most(), 0U);
}

}  // namespace
}  // namespace thaw::pool
