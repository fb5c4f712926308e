// One run of a batch: a thread that reads the inputs, threads that send them, and the caller's, which writes outcomes
// and shows how far it is. What is held at once is bounded by the concurrency, however many inputs there are.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/result.h"
#include "batch_invoker.h"
#include "batch_item.h"
#include "batch_output.h"
#include "client.h"

namespace thaw::cli {

struct BatchCounts {
  std::uint64_t ok = 0;
  std::uint64_t failed = 0;
  std::uint64_t skipped = 0;  // finished by a run before
  std::uint64_t taken = 0;    // from the source, these and those that are not done yet

  std::uint64_t done() const { return ok + failed + skipped; }
};

struct BatchRun {
  std::shared_ptr<BatchSource> source;
  std::shared_ptr<const FinishedIds> finished;
  BatchOutput& output;
  const Endpoint& endpoint;
  const BatchTarget& target;
  unsigned concurrency = 4;
  std::optional<std::uint64_t> limit;  // of inputs, those of runs before included
  // Called ten times a second and at each outcome, on the caller's thread.
  // waits: what BatchWaits::text() gives.
  std::function<void(const BatchCounts&, const std::string& waits)> on_progress;
  // At the first ctrl-C, on the caller's thread.
  std::function<void()> on_interrupt;
};

struct BatchEnd {
  BatchCounts counts;
  std::chrono::milliseconds took{0};
  int signal = 0;              // the one that ended it early
  std::optional<Error> error;  // why it ended early
};

// Threads: that of main(); an InterruptGuard lives. The first ctrl-C lets what is under way end, the second does not.
BatchEnd run_batch_once(const BatchRun& run);

}  // namespace thaw::cli
