#include "pool/calls.h"

#include <gtest/gtest.h>

namespace thaw::pool {
namespace {

std::shared_ptr<const CallLink> link(std::uint32_t hops, std::shared_ptr<const CallLink> waiting = nullptr,
                                     std::string revision_id = "r") {
  auto made = std::make_shared<CallLink>();
  made->hops = hops;
  made->waiting = std::move(waiting);
  made->revision_id = std::move(revision_id);
  return made;
}

Caller identified(const CallLinks& links) {
  Caller caller;
  links.identify(caller);
  return caller;
}

TEST(CallLinks, TheDeepestThatRunsCounts) {
  CallLinks links;
  EXPECT_EQ(identified(links).hops, 0U);
  EXPECT_EQ(identified(links).waiting, nullptr);
  const auto outer = link(0);
  const auto inner = link(3);
  links.enter(outer);
  links.enter(inner);
  EXPECT_EQ(identified(links).hops, 3U);
  EXPECT_EQ(identified(links).waiting, inner);
  links.leave(inner.get());
  EXPECT_EQ(identified(links).hops, 0U);
  EXPECT_EQ(identified(links).waiting, outer);
}

TEST(CallLinks, WhatIsAskedBehindAnAnswerIsCountedOnFromItAndNobodyWaits) {
  CallLinks links;
  const auto one = link(5);
  links.enter(one);
  links.leave(one.get());
  EXPECT_EQ(identified(links).hops, 5U);
  EXPECT_EQ(identified(links).waiting, nullptr);
  links.enter(link(0));
  EXPECT_EQ(identified(links).hops, 0U);
}

TEST(CheckPlaces, OnlyInvocationsOfTheSameRevisionHoldItsPlaces) {
  model::FunctionRecord record;
  record.revision_id = "r";
  record.config.environments_max = 2;
  record.config.concurrency = 1;
  EXPECT_TRUE(check_places(nullptr, record).ok());
  const auto first = link(0);
  const auto other = link(1, first, "s");
  EXPECT_TRUE(check_places(other.get(), record).ok());
  const auto second = link(2, other);
  const Status full = check_places(second.get(), record);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().kind, ErrorKind::overloaded);
  EXPECT_EQ(full.error().code, "Calls.NoPlace");
  record.config.concurrency = 2;
  EXPECT_TRUE(check_places(second.get(), record).ok());
}

}  // namespace
}  // namespace thaw::pool
