// Amazon's Signature Version 4 for S3 ("Authenticating Requests: Using the Authorization Header (AWS Signature Version
// 4)", Amazon S3 API Reference).
//
// By hand and not by libcurl's CURLOPT_AWS_SIGV4: libcurl 7.88 (Debian 12) neither sorts nor encodes the query before
// it signs it, and leaves out headers of the caller's that must be signed, x-amz-security-token among them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace thaw::adapters {

struct Credentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // empty for long-lived keys
};

struct UnsignedRequest {
  std::string method;
  std::string host;  // as in the Host field, with the port where it is not the scheme's own
  std::string path;  // percent-encoded, as it is sent
  std::vector<std::pair<std::string, std::string>> query;   // not encoded
  std::vector<std::pair<std::string, std::string>> fields;  // lower-case names; x-amz-* ones and content-type
  std::string payload_sha256;                               // lower-case hex
};

// The fields to send: those given, x-amz-date, x-amz-content-sha256, x-amz-security-token and Authorization.
// time: "20130524T000000Z".
std::vector<std::pair<std::string, std::string>> sign(const UnsignedRequest& request, const Credentials& credentials,
                                                      std::string_view region, std::string_view time);

// Encoded and sorted, as it is signed and must be sent: "a=1&list-type=2".
std::string canonical_query(std::vector<std::pair<std::string, std::string>> query);
// Now, as sign() takes it.
std::string amazon_time();

}  // namespace thaw::adapters
