// Threads that do the models' work, so that the thread that speaks HTTP never waits for one; behind a bounded queue, so
// that a burst is refused early instead of being answered after its callers have gone.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"

namespace thaw::onnx {

struct WorkerPoolLimits {
  unsigned workers = 1;
  std::size_t queue_max = 64;  // jobs that wait, beside those that run
};

// Ownership: owns its threads; the destructor runs what is queued and then joins them. Threads: submit() from any.
class WorkerPool {
 public:
  explicit WorkerPool(WorkerPoolLimits limits);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;

  // Errors: overloaded when the queue is full. The job must not throw.
  Status submit(std::function<void()> job);

 private:
  void work();

  const WorkerPoolLimits limits_;
  std::mutex mutex_;  // guards jobs_ and stopping_
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace thaw::onnx
