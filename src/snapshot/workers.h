// A few threads that run what they are given.
//
// Ownership: joins its threads when it is dropped; what has not begun by then never runs. Threads: run() from any.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace thaw::snapshot {

class Workers {
 public:
  explicit Workers(std::size_t count);
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers();

  std::size_t count() const { return threads_.size(); }
  // The queue has no bound of its own: callers wait for what they have given before they give more.
  template <class Job>
  std::future<std::invoke_result_t<Job>> run(Job job) {
    auto task = std::make_shared<std::packaged_task<std::invoke_result_t<Job>()>>(std::move(job));
    auto result = task->get_future();
    push([task] { (*task)(); });
    return result;
  }

 private:
  void push(std::function<void()> job);
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_
  bool ending_ = false;                     // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace thaw::snapshot
