#include "gateway/function_url.h"

#include "gateway/cors.h"
#include "gateway/sigv4.h"

namespace thaw::gateway {
namespace {

// Of Lambda, in a signature's scope.
constexpr std::string_view kService = "lambda";

}  // namespace

http::Task<bool> answer_by_url(http::Exchange& exchange, const model::FunctionUrlConfig& url, const AccessKeys& keys,
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
  const auto signature = co_await verify(exchange, keys, kService);
  if (signature.ok() || exchange.responded()) co_return exchange.responded();
  co_await exchange.respond({.status = 403, .body = "{\"Message\":\"Forbidden\"}", .extra_fields = id_field});
  co_return true;
}

}  // namespace thaw::gateway
