// The streamed response of an event function as an HTTP answer that goes out while it comes: InvokeMode RESPONSE_STREAM
// of a function's URL.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "events/event_invoker.h"
#include "gateway/http_answer.h"
#include "http/server.h"

namespace thaw::gateway {

// The head goes out when the response begins, with its prelude where it has one. Ownership: borrows the exchange.
// Threads: the exchange's loop. Errors: of begin() and write(): a client that is gone, a prelude that is none.
class StreamedAnswer final : public events::ResponseSink {
 public:
  StreamedAnswer(http::Exchange& exchange, const std::string& request_id)
      : exchange_(exchange), request_id_(request_id) {}

  http::Task<Status> begin(std::string_view content_type) override;
  http::Task<Status> write(std::string_view piece) override;

  // Once the invocation is over and result.streamed. function_failed: nothing has been answered, for the prelude is
  // none or did not come. A response that broke off is cut off, so that no client takes a part for the whole.
  http::Task<Status> finish(const events::EventResult& result);

 private:
  http::Task<Status> start(const HttpAnswer& head);

  http::Exchange& exchange_;
  const std::string& request_id_;
  std::optional<PreludeReader> prelude_;
  std::optional<Error> malformed_;
  bool started_ = false;
  bool has_body_ = true;
};

// The head's fields of a function's answer, each "Name: value\r\n", with the request's id.
std::string answer_fields(const http::Exchange& exchange, const HttpAnswer& answer, const std::string& request_id);

}  // namespace thaw::gateway
