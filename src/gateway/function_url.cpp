#include "gateway/function_url.h"

#include "gateway/cors.h"

namespace thaw::gateway {

http::Task<bool> answer_by_url(http::Exchange& exchange, const model::FunctionUrlConfig& url,
                               const std::string& request_id) {
  const http::RequestHead& head = exchange.request();
  const std::string id_field = "x-amzn-RequestId: " + request_id + "\r\n";
  if (url.cors) {
    exchange.set_own_fields(cors_fields(*url.cors, head));
    // A browser signs no preflight: it comes before the question who calls.
    if (is_preflight(head)) {
      co_await exchange.respond({.extra_fields = id_field});
      co_return true;
    }
  }
  if (url.auth_type == model::UrlAuthType::none) co_return false;
  // No signature can be verified here, so that nobody is allowed.
  co_await exchange.respond({.status = 403, .body = "{\"Message\":\"Forbidden\"}", .extra_fields = id_field});
  co_return true;
}

}  // namespace thaw::gateway
