// The question-answering API over HTTP. The loop's thread parses and answers; the model runs on worker threads.
#pragma once

#include <memory>
#include <string>

#include "http/server.h"
#include "onnx/question_answering.h"
#include "onnx/question_api.h"
#include "onnx/worker_pool.h"

namespace thaw::onnx {

struct QuestionServerOptions {
  std::string swagger_ui;  // the folder of Swagger UI's files; empty when there is none
  WorkerPoolLimits workers;
};

// Ownership: model outlives the server, the server outlives the http::Server that calls handle().
// Threads: handle() on any loop.
class QuestionServer {
 public:
  QuestionServer(const QuestionAnswering& model, QuestionServerOptions options);

  http::Task<> handle(http::Exchange& exchange);

 private:
  http::Task<> handle_question(http::Exchange& exchange, std::string_view method, std::string_view query);
  http::Task<> serve_page(http::Exchange& exchange, std::string_view path);
  http::Task<> serve_asset(http::Exchange& exchange, std::string_view name);
  http::Task<Result<std::string>> answer(http::Exchange& exchange, Ask ask);

  const QuestionAnswering& model_;
  const QuestionServerOptions options_;
  const std::string hello_;
  const std::string openapi_;
  WorkerPool workers_;
};

}  // namespace thaw::onnx
