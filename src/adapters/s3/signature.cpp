#include "adapters/s3/signature.h"

#include <algorithm>
#include <ctime>

#include "adapters/curl/transport.h"
#include "base/digest/sha256.h"

namespace thaw::adapters {
namespace {

std::string_view as_text(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace

std::string canonical_query(std::vector<std::pair<std::string, std::string>> query) {
  for (auto& [name, value] : query) {
    name = encode_query_part(name);
    value = encode_query_part(value);
  }
  std::sort(query.begin(), query.end());
  std::string text;
  for (const auto& [name, value] : query) text += (text.empty() ? "" : "&") + name + "=" + value;
  return text;
}

std::string amazon_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts);
  return text;
}

std::vector<std::pair<std::string, std::string>> sign(const UnsignedRequest& request, const Credentials& credentials,
                                                      std::string_view region, std::string_view time) {
  auto fields = request.fields;
  fields.emplace_back("x-amz-content-sha256", request.payload_sha256);
  fields.emplace_back("x-amz-date", time);
  if (!credentials.session_token.empty()) fields.emplace_back("x-amz-security-token", credentials.session_token);
  auto to_sign = fields;
  to_sign.emplace_back("host", request.host);
  std::sort(to_sign.begin(), to_sign.end());

  std::string canonical = request.method + "\n" + request.path + "\n" + canonical_query(request.query) + "\n";
  std::string names;
  for (const auto& [name, value] : to_sign) {
    canonical += name + ":" + value + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  canonical += "\n" + names + "\n" + request.payload_sha256;

  const std::string day(time.substr(0, 8));
  const std::string scope = day + "/" + std::string(region) + "/s3/aws4_request";
  const std::string text = "AWS4-HMAC-SHA256\n" + std::string(time) + "\n" + scope + "\n" + hex(sha256(canonical));
  Sha256Digest key = hmac_sha256("AWS4" + credentials.secret_key, day);
  for (const std::string_view part : {region, std::string_view("s3"), std::string_view("aws4_request")})
    key = hmac_sha256(as_text(key), part);
  fields.emplace_back("authorization", "AWS4-HMAC-SHA256 Credential=" + credentials.access_key + "/" + scope +
                                           ",SignedHeaders=" + names +
                                           ",Signature=" + hex(hmac_sha256(as_text(key), text)));
  return fields;
}

}  // namespace thaw::adapters
