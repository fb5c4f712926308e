#include "onnx/worker_pool.h"

#include <fmt/format.h>

namespace thaw::onnx {

WorkerPool::WorkerPool(WorkerPoolLimits limits) : limits_(limits) {
  for (unsigned i = 0; i < limits.workers; ++i) threads_.emplace_back([this] { work(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Status WorkerPool::submit(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (jobs_.size() >= limits_.queue_max) {
      return Error{ErrorKind::overloaded, fmt::format("{} requests are waiting already; try again", jobs_.size())};
    }
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
  return {};
}

void WorkerPool::work() {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
  }
}

}  // namespace thaw::onnx
