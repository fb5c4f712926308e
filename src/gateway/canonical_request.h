// The canonical form of a request, which its signature is made of ("Create a signed AWS API request", AWS IAM User
// Guide), for all services but S3: the path is normalized, and encoded although it is already.
//
// Threads: functions of their arguments alone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/message.h"

namespace thaw::gateway {

// Without "." and "..", without empty segments, and encoded once more.
std::string canonical_path(std::string_view path);
// Decoded, encoded by one rule, sorted; without the parameter X-Amz-Signature. Errors: invalid_argument for a '%'
// without two hex digits.
Result<std::string> canonical_query(std::string_view query);
// "name:value\n" for each of the names, which are lower-case; values of fields of one name are joined with commas, and
// blanks in a row are one.
std::string canonical_fields(const http::Fields& fields, const std::vector<std::string>& names);
// All of it. payload: the hash in hex, or what stands for it. Errors: invalid_argument for a target that is none.
Result<std::string> canonical_request(const http::RequestHead& request, const std::vector<std::string>& signed_fields,
                                      std::string_view payload);

}  // namespace thaw::gateway
