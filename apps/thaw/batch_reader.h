// The thread that reads a batch's inputs ahead of those who send them.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/result.h"
#include "batch_item.h"
#include "batch_output.h"
#include "bounded_queue.h"

namespace thaw::cli {

// Ownership: shares the source and the finished ids with its thread, because a read that waits (for a database, a pipe)
// cannot be ended: the destructor waits for it a little, and leaves the thread to itself then. It touches nothing else,
// and ends with its read, or with the process.
// Threads: any.
class BatchReader {
 public:
  struct Inputs {
    std::shared_ptr<BatchSource> source;
    std::shared_ptr<const FinishedIds> finished;  // these are passed over
    std::optional<std::uint64_t> limit;
    std::size_t ahead_max;
  };
  explicit BatchReader(Inputs inputs);
  ~BatchReader();
  BatchReader(const BatchReader&) = delete;
  BatchReader& operator=(const BatchReader&) = delete;

  // The next one; nothing at the end, after an error, and once it is stopped.
  std::optional<BatchItem> next() { return state_->queue.pop(); }
  // Drops what was read ahead.
  void stop();
  std::uint64_t skipped() const { return state_->skipped; }
  // Read from the source, those that were skipped too.
  std::uint64_t taken() const { return state_->taken; }
  // Why it could not read on.
  std::optional<Error> error() const;

 private:
  struct State {
    explicit State(Inputs of) : inputs(std::move(of)), queue(inputs.ahead_max) {}
    void read();
    Status read_all();

    const Inputs inputs;
    BoundedQueue<BatchItem> queue;
    std::atomic<std::uint64_t> skipped = 0;
    std::atomic<std::uint64_t> taken = 0;
    std::atomic<bool> stopped = false;
    std::mutex mutex;
    std::optional<Error> error;  // guarded by mutex
    std::promise<void> ended;
  };

  std::shared_ptr<State> state_;
  std::future<void> ended_;
  std::thread thread_;
};

}  // namespace thaw::cli
