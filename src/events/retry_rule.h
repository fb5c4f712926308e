// When an event runs again ("How Lambda handles errors and retries with asynchronous invocation", AWS Lambda Developer
// Guide): what the function does wrong is tried twice more, a minute and two minutes later; what is none of its doing
// (throttles, no environment) comes back after 1 s and then ever later, up to 5 minutes, until the event is too old.
//
// Ownership: plain values. Threads: any.
#pragma once

#include <chrono>
#include <cstdint>

namespace thaw::events {

struct RetryRule {
  std::chrono::milliseconds function_error_step{60000};  // before the n-th retry: n steps
  std::chrono::milliseconds backoff_first{1000};         // doubled each time
  std::chrono::milliseconds backoff_max{300000};
  // The function's own settings replace these.
  std::uint32_t retries_max = 2;
  std::chrono::milliseconds age_max = std::chrono::hours(6);
};

enum class Outcome : std::uint8_t { success, function_error, not_run };

struct Verdict {
  enum class Next : std::uint8_t {
    succeeded,
    again,      // after `wait`
    exhausted,  // the function has failed as often as it may
    too_old,
  };
  Next next = Next::succeeded;
  std::chrono::milliseconds wait{0};
  // Of the event from now on: how often the function has run it, and how often in a row it could not be run.
  std::uint32_t attempts = 0;
  std::uint32_t failures = 0;
};

// attempts, failures: before this outcome. age: of the event now.
Verdict judge(const RetryRule& rule, Outcome outcome, std::uint32_t attempts, std::uint32_t failures,
              std::chrono::milliseconds age);

}  // namespace thaw::events
