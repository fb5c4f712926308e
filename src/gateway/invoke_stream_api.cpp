// Lambda's InvokeWithResponseStream ("InvokeWithResponseStream", AWS Lambda API Reference): the response in
// PayloadChunk events as it comes, and an InvokeComplete event behind it, which tells of an error even in its midst.

#include "base/base64.h"
#include "gateway/control_api.h"
#include "http/amazon_event_stream.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

// Of a response that comes whole.
constexpr std::size_t kChunkBytesMax = 64 << 10;

// Begins the answer when the response begins, or when it has ended, whichever there is.
class EventStreamSink final : public events::ResponseSink {
 public:
  EventStreamSink(http::Exchange& exchange, const events::EventRequest& request)
      : exchange_(exchange), fields_("X-Amz-Executed-Version: " + request.record->version + "\r\n") {}

  // The content type is for a function's URL: here the answer has that of its framing.
  http::Task<Status> begin(std::string_view) override { return start(); }

  http::Task<Status> write(std::string_view piece) override { return send(http::payload_chunk_event(piece)); }

  // What has not gone through begin() and write(): a response that came whole, and how the invocation ended.
  http::Task<Status> finish(const events::EventResult& result, bool log_tail) {
    const bool failed = !result.function_error.empty();
    if (!result.streamed) {
      if (Status started = co_await start(); !started.ok()) co_return started;
      std::string_view rest = failed ? std::string_view() : std::string_view(result.payload);
      for (; !rest.empty(); rest.remove_prefix(std::min(kChunkBytesMax, rest.size()))) {
        if (Status sent = co_await write(rest.substr(0, kChunkBytesMax)); !sent.ok()) co_return sent;
      }
    }
    const std::string_view details = !failed                         ? ""
                                     : http::is_utf8(result.payload) ? std::string_view(result.payload)
                                                                     : "the function's error is not UTF-8";
    const std::string tail = log_tail ? base64_encoded(result.log_tail) : std::string();
    Status sent = co_await send(http::invoke_complete_event(result.function_error, details, tail));
    if (!sent.ok()) co_return sent;
    co_return co_await exchange_.finish_stream();
  }

 private:
  http::Task<Status> start() {
    co_return co_await exchange_.start_stream(
        {.content_type = "application/vnd.amazon.eventstream", .extra_fields = fields_});
  }

  http::Task<Status> send(Result<std::string> event) {
    if (!event.ok()) co_return event.error();
    co_return co_await exchange_.write_stream(*event);
  }

  http::Exchange& exchange_;
  const std::string fields_;
};

}  // namespace

http::Task<Status> ControlApi::invoke_streamed(http::Exchange& exchange, const std::string& name,
                                               const std::string& qualifier) {
  const std::string type(exchange.request().fields.find("x-amz-invocation-type"));
  if (!type.empty() && type != "RequestResponse" && type != "DryRun")
    co_return invalid_argument("X-Amz-Invocation-Type must be RequestResponse or DryRun");
  auto request = co_await read_invocation(exchange, name, qualifier);
  if (!request.ok()) co_return request.error();
  if (type == "DryRun") co_return co_await exchange.respond({.status = 204});
  EventStreamSink sink(exchange, *request);
  request->sink = &sink;
  const bool log_tail = request->log_tail;
  const events::EventResult result = co_await invoker_.run(exchange.loop(), std::move(*request));
  // Once events are on their way there is no other status.
  if (!result.status.ok() && !exchange.responded()) co_return result.status;
  if (!result.status.ok()) {
    exchange.reset_after();
    co_return result.status;
  }
  if (exchange.client_gone()) co_return Error{ErrorKind::unavailable, "the client went away"};
  co_return co_await sink.finish(result, log_tail);
}

}  // namespace thaw::gateway
