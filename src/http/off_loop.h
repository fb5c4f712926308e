// Runs blocking work on a worker thread while a coroutine waits on its loop.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <optional>

#include "http/loop.h"

namespace thaw::http {

// work runs on a thread of workers; its result comes back on the loop. The caller's frame lives on meanwhile, so work
// may refer to it.
template <class Work>
Task<std::invoke_result_t<Work>> off_loop(boost::asio::thread_pool& workers, Loop& loop, Work work) {
  using Value = std::invoke_result_t<Work>;
  std::optional<Value> value;
  const auto initiate = [&](auto handler) {
    boost::asio::post(workers,
                      [&value, &work, &loop, resume = std::make_shared<decltype(handler)>(std::move(handler))] {
                        value.emplace(work());
                        boost::asio::post(loop.executor(), [resume]() mutable { std::move (*resume)(); });
                      });
  };
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<Executor>, void()>(initiate, use_task);
  co_return std::move(*value);
}

}  // namespace thaw::http
