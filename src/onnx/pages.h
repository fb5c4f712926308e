// What the servers of all tasks have in common: the pages that describe the API, answers to errors, and the way from
// the loop's thread to a worker and back.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "http/server.h"
#include "onnx/worker_pool.h"

namespace thaw::onnx {

// A task over HTTP. Threads: handle() on any loop.
class TaskServer {
 public:
  TaskServer() = default;
  TaskServer(const TaskServer&) = delete;
  virtual ~TaskServer() = default;

  virtual http::Task<> handle(http::Exchange& exchange) = 0;
};

// POST here runs the model once on a sample of the server's own: what a snapshot's maker asks for before the freeze.
inline constexpr std::string_view kWarmUpPath = "/warm-up";

struct TaskServerOptions {
  std::string swagger_ui;  // the folder of Swagger UI's files; empty when there is none
  WorkerPoolLimits workers;
};

struct PageTexts {
  std::string hello;    // JSON, at /
  std::string openapi;  // JSON, at /openapi.json
};

// /, /healthz, /openapi.json and /docs. Threads: any.
class Pages {
 public:
  Pages(std::string swagger_ui, PageTexts texts) : swagger_ui_(std::move(swagger_ui)), texts_(std::move(texts)) {}

  // Answers any request: 404 for a path that is no page, 405 for a method that is not GET or HEAD.
  http::Task<> serve(http::Exchange& exchange, std::string_view path) const;

 private:
  http::Task<> serve_page(http::Exchange& exchange, std::string_view path) const;
  http::Task<> serve_asset(http::Exchange& exchange, std::string_view name) const;

  const std::string swagger_ui_;
  const PageTexts texts_;
};

// body: the error in JSON. error is a named object at every call: g++ 12 destroys a braced temporary in a co_await
// expression twice.
http::Task<> respond_error(http::Exchange& exchange, const Error& error, std::string body);
http::Task<> respond_method_not_allowed(http::Exchange& exchange, std::string_view allowed);

// Runs work() on a worker and resumes on the loop with its result.
template <class Work>
auto on_worker(WorkerPool& workers, http::Loop& loop, Work work) {
  using Value = Result<std::string>;
  return boost::asio::async_initiate<const boost::asio::use_awaitable_t<http::Executor>&, void(Value)>(
      [&workers, &loop](auto handler, Work job) {
        // Shared, because std::function copies and a handler does not.
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        const auto finish = [executor = loop.executor(), shared](Value value) {
          boost::asio::post(executor, [shared, value = std::move(value)]() mutable { (*shared)(std::move(value)); });
        };
        const Status submitted = workers.submit([finish, job = std::move(job)]() mutable { finish(job()); });
        if (!submitted.ok()) finish(Status(submitted).error());
      },
      http::use_task, std::move(work));
}

}  // namespace thaw::onnx
