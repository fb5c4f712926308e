#include "onnx/question_server.h"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>

#include "base/sys.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::onnx {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kAssetBytesMax = 8 << 20;

struct Asset {
  std::string_view name;
  std::string_view content_type;
};
constexpr std::array<Asset, 3> kAssets = {{{"swagger-ui.css", "text/css; charset=utf-8"},
                                           {"swagger-ui-bundle.js", "text/javascript; charset=utf-8"},
                                           {"favicon-32x32.png", "image/png"}}};

// All addresses are relative to /docs, so that the page works behind any prefix.
constexpr std::string_view kDocsPage = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>thaw-onnx</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
)";
constexpr std::string_view kDocsScript =
    "SwaggerUIBundle({url: 'openapi.json', dom_id: '#swagger-ui', deepLinking: true, tryItOutEnabled: true});\n";
constexpr std::string_view kDocsFields =
    "Content-Security-Policy: default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'\r\n"
    "X-Content-Type-Options: nosniff\r\n";
constexpr std::string_view kAssetFields = "Cache-Control: max-age=3600\r\nX-Content-Type-Options: nosniff\r\n";

Error not_found(std::string message) { return {ErrorKind::not_found, std::move(message)}; }

// error is a named object at every call: g++ 12 destroys a braced temporary in a co_await expression twice.
http::Task<> respond_error(http::Exchange& exchange, const Error& error) {
  const std::string body = error_json(error);
  const std::string_view extra = error.kind == ErrorKind::overloaded ? "Retry-After: 1\r\n" : "";
  (void)co_await exchange.respond({.status = http_status(error.kind), .body = body, .extra_fields = extra});
}

http::Task<> respond_method_not_allowed(http::Exchange& exchange, std::string_view allowed) {
  const std::string body = error_json(invalid_argument(fmt::format("the method must be one of {}", allowed)));
  const std::string extra = fmt::format("Allow: {}\r\n", allowed);
  (void)co_await exchange.respond({.status = 405, .body = body, .extra_fields = extra});
}

// Runs work() on a worker and resumes on the loop with its result.
template <class Work>
auto on_worker(WorkerPool& workers, http::Loop& loop, Work work) {
  using Value = Result<std::string>;
  return asio::async_initiate<const asio::use_awaitable_t<http::Executor>&, void(Value)>(
      [&workers, &loop](auto handler, Work job) {
        // Shared, because std::function copies and a handler does not.
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        const auto finish = [executor = loop.executor(), shared](Value value) {
          asio::post(executor, [shared, value = std::move(value)]() mutable { (*shared)(std::move(value)); });
        };
        const Status submitted = workers.submit([finish, job = std::move(job)]() mutable { finish(job()); });
        if (!submitted.ok()) finish(Status(submitted).error());
      },
      http::use_task, std::move(work));
}

}  // namespace

QuestionServer::QuestionServer(const QuestionAnswering& model, QuestionServerOptions options)
    : model_(model),
      options_(std::move(options)),
      hello_(hello_json(model.config())),
      openapi_(openapi_json(model.config().name, model.sequence_max())),
      workers_(options_.workers) {}

http::Task<> QuestionServer::handle(http::Exchange& exchange) {
  auto target = http::split_target(exchange.request().target);
  if (!target.ok()) {
    co_await respond_error(exchange, target.error());
    co_return;
  }
  const std::string_view method = exchange.request().method;
  if (target->path == "/question") {
    co_await handle_question(exchange, method, target->query);
  } else if (method != "GET" && method != "HEAD") {
    const bool known =
        target->path == "/" || target->path == "/docs" || target->path == "/openapi.json" || target->path == "/healthz";
    if (known) {
      co_await respond_method_not_allowed(exchange, "GET, HEAD");
    } else {
      const Error error = not_found("there is nothing at this path; see /docs");
      co_await respond_error(exchange, error);
    }
  } else {
    co_await serve_page(exchange, target->path);
  }
}

http::Task<> QuestionServer::serve_page(http::Exchange& exchange, std::string_view path) {
  if (path == "/") {
    (void)co_await exchange.respond({.body = hello_});
  } else if (path == "/healthz") {
    (void)co_await exchange.respond({.body = "{\"status\":\"ok\"}\n"});
  } else if (path == "/openapi.json") {
    (void)co_await exchange.respond({.body = openapi_});
  } else if (path == "/docs") {
    (void)co_await exchange.respond(
        {.content_type = "text/html; charset=utf-8", .body = kDocsPage, .extra_fields = kDocsFields});
  } else if (path == "/docs/") {
    (void)co_await exchange.respond({.status = 307, .extra_fields = "Location: ../docs\r\n"});
  } else if (path.starts_with("/docs/")) {
    co_await serve_asset(exchange, path.substr(6));
  } else {
    const Error error = not_found("there is nothing at this path; see /docs");
    co_await respond_error(exchange, error);
  }
}

http::Task<> QuestionServer::serve_asset(http::Exchange& exchange, std::string_view name) {
  if (name == "start.js") {
    (void)co_await exchange.respond({.content_type = "text/javascript; charset=utf-8",
                                     .body = kDocsScript,
                                     .extra_fields = "X-Content-Type-Options: nosniff\r\n"});
    co_return;
  }
  for (const Asset& asset : kAssets) {
    if (asset.name != name || options_.swagger_ui.empty()) continue;
    const auto bytes = sys::read_file(fmt::format("{}/{}", options_.swagger_ui, name), kAssetBytesMax);
    if (!bytes.ok()) break;
    (void)co_await exchange.respond({.content_type = asset.content_type, .body = *bytes, .extra_fields = kAssetFields});
    co_return;
  }
  const Error error = not_found("no such file of Swagger UI; /openapi.json describes the API");
  co_await respond_error(exchange, error);
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
      co_await respond_error(exchange, error);
      co_return;
    }
    auto read = co_await exchange.read_whole_body(kBodyBytesMax);
    if (!read.ok()) {
      co_await respond_error(exchange, read.error());
      co_return;
    }
    body = *std::move(read);
  }
  auto ask = method == "POST" ? parse_ask_json(body) : parse_ask_query(query);
  if (!ask.ok()) {
    co_await respond_error(exchange, ask.error());
    co_return;
  }
  const auto answered = co_await answer(exchange, *std::move(ask));
  if (!answered.ok()) {
    co_await respond_error(exchange, answered.error());
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
