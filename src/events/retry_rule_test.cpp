#include "events/retry_rule.h"

#include <gtest/gtest.h>

namespace thaw::events {
namespace {

using namespace std::chrono_literals;
using Next = Verdict::Next;

TEST(RetryRule, AFunctionErrorIsTriedTwiceMoreAfterOneAndTwoMinutes) {
  const RetryRule rule;
  const Verdict first = judge(rule, Outcome::function_error, 0, 0, 0s);
  EXPECT_EQ(first.next, Next::again);
  EXPECT_EQ(first.wait, 1min);
  const Verdict second = judge(rule, Outcome::function_error, first.attempts, 0, 1min);
  EXPECT_EQ(second.next, Next::again);
  EXPECT_EQ(second.wait, 2min);
  const Verdict third = judge(rule, Outcome::function_error, second.attempts, 0, 3min);
  EXPECT_EQ(third.next, Next::exhausted);
  EXPECT_EQ(third.attempts, 3U);
}

TEST(RetryRule, WithoutRetriesTheFirstErrorIsTheLast) {
  EXPECT_EQ(judge({.retries_max = 0}, Outcome::function_error, 0, 0, 0s).next, Next::exhausted);
}

TEST(RetryRule, WhatCouldNotRunComesBackEverLaterUntilItIsTooOld) {
  const RetryRule rule;
  std::chrono::milliseconds age{0};
  std::uint32_t failures = 0;
  std::chrono::milliseconds before{0};
  Verdict verdict;
  while ((verdict = judge(rule, Outcome::not_run, 1, failures, age)).next == Next::again) {
    EXPECT_EQ(verdict.wait, failures == 0 ? 1s : std::min<std::chrono::milliseconds>(5min, before * 2));
    EXPECT_EQ(verdict.attempts, 1U) << "it did not run";
    before = verdict.wait;
    age += verdict.wait;
    failures = verdict.failures;
    ASSERT_LT(failures, 1000U);
  }
  EXPECT_EQ(verdict.next, Next::too_old);
  EXPECT_LE(age, 6h);
  EXPECT_GT(age, 6h - 5min);
}

TEST(RetryRule, ARetryThatWouldComeTooLateIsNotWaitedFor) {
  EXPECT_EQ(judge({.age_max = 60s}, Outcome::function_error, 0, 0, 1s).next, Next::too_old);
}

TEST(RetryRule, SuccessEndsItWhateverWasBefore) {
  const Verdict verdict = judge({}, Outcome::success, 2, 9, 7h);
  EXPECT_EQ(verdict.next, Next::succeeded);
  EXPECT_EQ(verdict.attempts, 3U);
}

TEST(RetryRule, ManyFailuresDoNotOverflow) {
  const Verdict verdict = judge({.age_max = 10000h}, Outcome::not_run, 0, 4000000000U, 1h);
  EXPECT_EQ(verdict.wait, 5min);
}

}  // namespace
}  // namespace thaw::events
