// The half of sigv4.h that reads requests: their bodies are part of what is signed.

#include <atomic>

#include "base/digest/sha256.h"
#include "gateway/sigv4.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr std::string_view kContentHash = "x-amz-content-sha256";
// Of all bodies together that are read here, before anything is known of who sends them but the key's name.
constexpr std::size_t kHeldBytesMax = 256 << 20;

std::atomic<std::size_t> held_bytes{0};

// What one request takes of it.
class Held {
 public:
  Held() = default;
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() { held_bytes -= bytes_; }
  bool add(std::size_t bytes) {
    bytes_ += bytes;
    return (held_bytes += bytes) <= kHeldBytesMax;
  }

 private:
  std::size_t bytes_ = 0;
};

Error mismatch() {
  return {ErrorKind::forbidden,
          "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
          "Key and signing method. Consult the service documentation for details.",
          "InvalidSignatureException"};
}

http::Task<Result<std::string>> read_body(http::Exchange& exchange, Held& held) {
  const Error too_large(ErrorKind::too_large,
                        "a signed request has a body of at most " + std::to_string(kSignedBodyBytesMax) + " bytes");
  if (!exchange.set_body_bytes_max(kSignedBodyBytesMax)) {
    exchange.close_after();
    co_return too_large;
  }
  std::string body;
  for (;;) {
    const auto piece = co_await exchange.read_body();
    if (!piece.ok() && piece.error().kind == ErrorKind::too_large) co_return too_large;
    if (!piece.ok()) co_return piece.error();
    if (piece->empty()) co_return body;
    if (!held.add(piece->size())) {
      exchange.close_after();
      co_return Error{ErrorKind::overloaded, "the bodies of signed requests take too much memory: try again"};
    }
    body.append(*piece);
  }
}

}  // namespace

http::Task<Result<RequestSignature>> verify(http::Exchange& exchange, const AccessKeys& keys,
                                            std::string_view service) {
  auto signature = read_signature(exchange.request());
  if (!signature.ok()) co_return signature.error();
  const auto key = check_signature(*signature, exchange.request(), keys, service, std::chrono::system_clock::now());
  if (!key.ok()) co_return key.error();
  const std::string declared(exchange.request().fields.find(kContentHash));
  // Of a body in signed chunks each would have to be looked at: only S3 takes such.
  if (declared.starts_with("STREAMING-"))
    co_return Error{ErrorKind::forbidden, "x-amz-content-sha256: bodies in signed chunks are not supported",
                    "InvalidSignatureException"};
  std::string payload = declared;
  Held held;
  if (declared != kUnsignedPayload) {
    auto body = co_await read_body(exchange, held);
    if (!body.ok()) co_return body.error();
    payload = hex(sha256(*body));
    if (!declared.empty() && declared != payload) co_return mismatch();
    exchange.restore_body(std::move(*body));
  }
  const auto expected = expected_signature(*signature, exchange.request(), (*key)->secret, payload);
  if (!expected.ok()) co_return expected.error();
  if (!equal_in_constant_time(*expected, signature->signature)) co_return mismatch();
  co_return std::move(*signature);
}

}  // namespace thaw::gateway
