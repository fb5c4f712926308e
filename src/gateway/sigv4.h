// AWS Signature Version 4: whether a request was signed by one of the configured access keys ("AWS Signature Version 4
// for API requests", AWS IAM User Guide). The signature is in the Authorization field or, of a presigned URL, in the
// query.
//
//   Authorization: AWS4-HMAC-SHA256 Credential=ID/YYYYMMDD/REGION/SERVICE/aws4_request, SignedHeaders=…, Signature=…
//   ?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=…&X-Amz-Date=…&X-Amz-Expires=…&X-Amz-SignedHeaders=…&X-Amz-Signature=…
//
// The region is read and not compared: one daemon has one. Errors have AWS's names and wording.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gateway/access_keys.h"
#include "http/message.h"
#include "http/server.h"

namespace thaw::gateway {

inline constexpr std::size_t kSignedFieldsMax = 100;
inline constexpr std::chrono::seconds kClockSkewMax{300};
inline constexpr std::chrono::seconds kPresignedMax{7 * 86400};
// What a request's body may have whose signature holds for it.
inline constexpr std::size_t kSignedBodyBytesMax = 100 << 20;
// In x-amz-content-sha256: the body is not signed.
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

// What a request says of its signature.
struct RequestSignature {
  std::string access_key_id;
  std::string scope_date;  // YYYYMMDD
  std::string region;
  std::string service;
  std::string at;                          // YYYYMMDDTHHMMSSZ
  std::vector<std::string> signed_fields;  // lower-case names
  std::string signature;                   // lower-case hex
  std::string session_token;               // empty where there is none
  std::chrono::seconds valid{0};           // of a presigned URL, from `at` on; 0 for others
};

// Errors: forbidden (MissingAuthenticationTokenException), invalid_argument (IncompleteSignatureException).
Result<RequestSignature> read_signature(const http::RequestHead& request);

// All but the signature's value: service, dates, that host and every x-amz-* field are signed, and that there is such a
// key. The key belongs to keys. Errors: forbidden (InvalidSignatureException, UnrecognizedClientException).
Result<const AccessKey*> check_signature(const RequestSignature& signature, const http::RequestHead& request,
                                         const AccessKeys& keys, std::string_view service,
                                         std::chrono::system_clock::time_point now);

// The signature that the request should have. payload: the field x-amz-content-sha256, else the body's SHA-256 in hex.
// Errors: forbidden (InvalidSignatureException) for a target that is none.
Result<std::string> expected_signature(const RequestSignature& signature, const http::RequestHead& request,
                                       std::string_view secret, std::string_view payload);

// All of it for a request that has come in. Its body is read, compared with what is signed, and left to be read again;
// one that is declared UNSIGNED-PAYLOAD is not touched. Errors: as above; too_large past kSignedBodyBytesMax;
// overloaded when the bodies that are held so take too much memory together.
http::Task<Result<RequestSignature>> verify(http::Exchange& exchange, const AccessKeys& keys, std::string_view service);

}  // namespace thaw::gateway
