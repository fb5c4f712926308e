#include "gateway/streamed_answer.h"

#include "gateway/cors.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {

std::string answer_fields(const http::Exchange& exchange, const HttpAnswer& answer, const std::string& request_id) {
  std::string fields = "x-amzn-RequestId: " + request_id + "\r\n";
  for (const auto& [name, value] : answer.fields) {
    // What a page may do is then for the URL's configuration to say, and not for the function.
    if (exchange.own_fields().empty() || !is_cors_field(name))
      fields.append(name).append(": ").append(value).append("\r\n");
  }
  return fields;
}

http::Task<Status> StreamedAnswer::begin(std::string_view content_type) {
  if (content_type == kPreludeContentType) {
    prelude_.emplace();
    co_return Status();
  }
  HttpAnswer head;
  head.content_type = content_type.empty() ? "application/octet-stream" : std::string(content_type);
  co_return co_await start(head);
}

http::Task<Status> StreamedAnswer::start(const HttpAnswer& head) {
  started_ = true;
  const std::string fields = answer_fields(exchange_, head, request_id_);
  has_body_ = head.status != 204 && head.status != 304 && exchange_.request().method != "HEAD";
  const http::Response response{.status = head.status, .content_type = head.content_type, .extra_fields = fields};
  if (!has_body_) co_return co_await exchange_.respond(response);
  co_return co_await exchange_.start_stream(response);
}

http::Task<Status> StreamedAnswer::write(std::string_view piece) {
  if (prelude_) {
    auto head = prelude_->read(piece);
    if (!head.ok()) {
      malformed_ = head.error();
      co_return head.error();
    }
    if (!*head) co_return Status();
    prelude_.reset();
    Status begun = co_await start(**head);
    if (!begun.ok()) co_return begun;
  }
  if (!has_body_) co_return Status();
  co_return co_await exchange_.write_stream(piece);
}

http::Task<Status> StreamedAnswer::finish(const events::EventResult& result) {
  const bool failed = !result.status.ok() || !result.function_error.empty();
  if (!started_) {
    if (malformed_) co_return *malformed_;
    co_return Error{ErrorKind::function_failed, "the response is no HTTP answer: it ended within its prelude"};
  }
  if (!has_body_) co_return Status();
  if (failed) {
    exchange_.reset_after();
    co_return Status();
  }
  co_return co_await exchange_.finish_stream();
}

}  // namespace thaw::gateway
