#include "onnx/image_server.h"

#include <fmt/format.h>

#include <atomic>

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::onnx {
namespace {

constexpr int kUnsupportedMediaType = 415;

}  // namespace

ImageServer::ImageServer(const ImageClassification& model, TaskServerOptions options)
    : model_(model),
      pages_(std::move(options.swagger_ui),
             {.hello = classify_hello_json(model.config()),
              .openapi = classify_openapi_json(model.config().name, model.labels().size())}),
      workers_(options.workers) {}

http::Task<> ImageServer::handle(http::Exchange& exchange) {
  auto target = http::split_target(exchange.request().target);
  if (!target.ok()) {
    co_await respond_error(exchange, target.error(), classify_error_json(target.error()));
    co_return;
  }
  const std::string_view method = exchange.request().method;
  if (target->path == kWarmUpPath && method == "POST") {
    co_await respond_labels(exchange, [this]() -> Result<std::string> {
      ASSIGN_OR_RETURN(const std::vector<Label> labels, model_.classify_sample());
      return labels_json(labels);
    });
  } else if (target->path != "/" || method == "GET" || method == "HEAD") {
    co_await pages_.serve(exchange, target->path);
  } else if (method == "POST") {
    co_await handle_photo(exchange, target->query);
  } else {
    co_await respond_method_not_allowed(exchange, "GET, HEAD, POST");
  }
}

http::Task<> ImageServer::handle_photo(http::Exchange& exchange, std::string_view query) {
  const std::string_view content_type = exchange.request().fields.find("Content-Type");
  const auto kind = body_kind(content_type);
  if (!kind) {
    const std::string body = classify_error_json(
        invalid_argument(fmt::format("Content-Type '{}' is not known; known are image/jpeg, image/png, image/webp, "
                                     "application/octet-stream and application/json",
                                     content_type.substr(0, 100))));
    (void)co_await exchange.respond({.status = kUnsupportedMediaType, .body = body});
    co_return;
  }
  if (*kind == BodyKind::json && !query.empty()) {
    const Error error = invalid_argument("a POST of JSON carries its parameters in the body, not in the query");
    co_await respond_error(exchange, error, classify_error_json(error));
    co_return;
  }
  auto read = co_await exchange.read_whole_body(*kind == BodyKind::json ? kClassifyBodyBytesMax : kPhotoBytesMax);
  if (!read.ok()) {
    co_await respond_error(exchange, read.error(), classify_error_json(read.error()));
    co_return;
  }
  // Shared, because std::function copies, and a photo is large.
  const auto body = std::make_shared<std::string>(*std::move(read));
  std::function<Result<std::string>()> work = [this, kind = *kind, options = std::string(query),
                                               body]() -> Result<std::string> {
    ASSIGN_OR_RETURN(const Classify ask, kind == BodyKind::json ? parse_classify_json(*body)
                                                                : parse_classify_photo(options, std::move(*body)));
    ASSIGN_OR_RETURN(const std::vector<Label> labels, model_.classify(ask.photo, ask.options));
    return labels_json(labels);
  };
  co_await respond_labels(exchange, std::move(work));
}

http::Task<> ImageServer::respond_labels(http::Exchange& exchange, std::function<Result<std::string>()> work) {
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  exchange.set_on_client_gone([gone] { *gone = true; });
  auto job = [gone, work = std::move(work)]() -> Result<std::string> {
    if (*gone) return Error{ErrorKind::unavailable, "the caller is gone"};
    return work();
  };
  const auto labels = co_await on_worker(workers_, exchange.loop(), std::move(job));
  exchange.set_on_client_gone({});
  if (!labels.ok()) {
    co_await respond_error(exchange, labels.error(), classify_error_json(labels.error()));
    co_return;
  }
  (void)co_await exchange.respond({.body = *labels});
}

}  // namespace thaw::onnx
