#include "events/retry_rule.h"

#include <algorithm>

namespace thaw::events {

Verdict judge(const RetryRule& rule, Outcome outcome, std::uint32_t attempts, std::uint32_t failures,
              std::chrono::milliseconds age) {
  using Next = Verdict::Next;
  if (outcome == Outcome::success) return {.next = Next::succeeded, .attempts = attempts + 1};
  if (outcome == Outcome::function_error) {
    const std::uint32_t ran = attempts + 1;
    if (ran > rule.retries_max) return {.next = Next::exhausted, .attempts = ran};
    const auto wait = rule.function_error_step * ran;
    return {.next = age + wait > rule.age_max ? Next::too_old : Next::again, .wait = wait, .attempts = ran};
  }
  // 2^20 s is far above any backoff_max.
  const auto wait = std::min(rule.backoff_max, rule.backoff_first * (1L << std::min(failures, 20U)));
  return {.next = age + wait > rule.age_max ? Next::too_old : Next::again,
          .wait = wait,
          .attempts = attempts,
          .failures = failures + 1};
}

}  // namespace thaw::events
