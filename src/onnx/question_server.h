// The question-answering API over HTTP. The loop's thread parses and answers; the model runs on worker threads.
#pragma once

#include <memory>
#include <string>

#include "http/server.h"
#include "onnx/pages.h"
#include "onnx/question_answering.h"
#include "onnx/question_api.h"

namespace thaw::onnx {

// Ownership: model outlives the server, the server outlives the http::Server that calls handle().
// Threads: handle() on any loop.
class QuestionServer : public TaskServer {
 public:
  QuestionServer(const QuestionAnswering& model, TaskServerOptions options);

  http::Task<> handle(http::Exchange& exchange) override;

 private:
  http::Task<> handle_question(http::Exchange& exchange, std::string_view method, std::string_view query);
  http::Task<> respond_answer(http::Exchange& exchange, Ask ask);
  http::Task<Result<std::string>> answer(http::Exchange& exchange, Ask ask);

  const QuestionAnswering& model_;
  const Pages pages_;
  WorkerPool workers_;
};

}  // namespace thaw::onnx
