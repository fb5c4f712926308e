#include "onnx/question_server.h"

#include <atomic>

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::onnx {

QuestionServer::QuestionServer(const QuestionAnswering& model, TaskServerOptions options)
    : model_(model),
      pages_(std::move(options.swagger_ui),
             {.hello = hello_json(model.config()), .openapi = openapi_json(model.config().name, model.sequence_max())}),
      workers_(options.workers) {}

http::Task<> QuestionServer::handle(http::Exchange& exchange) {
  auto target = http::split_target(exchange.request().target);
  if (!target.ok()) {
    co_await respond_error(exchange, target.error(), question_error_json(target.error()));
  } else if (target->path == "/question") {
    co_await handle_question(exchange, exchange.request().method, target->query);
  } else if (target->path == kWarmUpPath && exchange.request().method == "POST") {
    Ask sample;
    sample.question = "What is warm?";
    sample.context = "A model that has answered once is warm.";
    co_await respond_answer(exchange, std::move(sample));
  } else {
    co_await pages_.serve(exchange, target->path);
  }
}

http::Task<> QuestionServer::handle_question(http::Exchange& exchange, std::string_view method,
                                             std::string_view query) {
  if (method != "GET" && method != "POST") {
    co_await respond_method_not_allowed(exchange, "GET, POST");
    co_return;
  }
  std::string body;
  if (method == "POST") {
    if (!query.empty()) {
      const Error error = invalid_argument("a POST carries its parameters in the body, not in the query");
      co_await respond_error(exchange, error, question_error_json(error));
      co_return;
    }
    auto read = co_await exchange.read_whole_body(kBodyBytesMax);
    if (!read.ok()) {
      co_await respond_error(exchange, read.error(), question_error_json(read.error()));
      co_return;
    }
    body = *std::move(read);
  }
  auto ask = method == "POST" ? parse_ask_json(body) : parse_ask_query(query);
  if (!ask.ok()) {
    co_await respond_error(exchange, ask.error(), question_error_json(ask.error()));
    co_return;
  }
  co_await respond_answer(exchange, *std::move(ask));
}

http::Task<> QuestionServer::respond_answer(http::Exchange& exchange, Ask ask) {
  const auto answered = co_await answer(exchange, std::move(ask));
  if (!answered.ok()) {
    co_await respond_error(exchange, answered.error(), question_error_json(answered.error()));
    co_return;
  }
  (void)co_await exchange.respond({.body = *answered});
}

http::Task<Result<std::string>> QuestionServer::answer(http::Exchange& exchange, Ask ask) {
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  exchange.set_on_client_gone([gone] { *gone = true; });
  auto work = [this, gone, ask = std::move(ask)]() -> Result<std::string> {
    if (*gone) return Error{ErrorKind::unavailable, "the caller is gone"};
    ASSIGN_OR_RETURN(const std::vector<Answer> answers, model_.answer(ask.question, ask.context, ask.options));
    return answers_json(answers, ask.options.top_k);
  };
  auto result = co_await on_worker(workers_, exchange.loop(), std::move(work));
  exchange.set_on_client_gone({});
  co_return result;
}

}  // namespace thaw::onnx
