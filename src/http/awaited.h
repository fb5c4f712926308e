// Waits in a coroutine for a callback.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <memory>
#include <optional>

#include "http/loop.h"

namespace thaw::http {

// begin gets a function to be called once, from any thread, with a Value; the coroutine goes on on its loop then.
template <class Value, class Begin>
Task<Value> awaited(Loop& loop, Begin begin) {
  auto value = std::make_shared<std::optional<Value>>();
  const auto executor = loop.executor();
  const auto initiate = [&](auto handler) {
    auto resume = std::make_shared<decltype(handler)>(std::move(handler));
    begin([value, executor, resume](Value given) {
      boost::asio::post(executor, [value, resume, held = std::move(given)]() mutable {
        value->emplace(std::move(held));
        std::move (*resume)();
      });
    });
  };
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<Executor>, void()>(initiate, use_task);
  co_return std::move(**value);
}

}  // namespace thaw::http
