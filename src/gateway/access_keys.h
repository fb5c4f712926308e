// The access keys whose signatures are taken, from a credentials file as AWS's tools have it:
//
//   [default]
//   aws_access_key_id = AKIA…
//   aws_secret_access_key = …
//   aws_session_token = …          ; of a temporary key
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::gateway {

inline constexpr std::size_t kAccessKeysMax = 1000;
inline constexpr std::size_t kAccessKeyBytesMax = 4096;  // of each value

struct AccessKey {
  std::string secret;
  std::string session_token;  // a request must carry it; empty where there is none
};

// By their ids.
using AccessKeys = std::map<std::string, AccessKey, std::less<>>;

// Other settings of a section are passed over. Errors: invalid_argument names the line and the limit, never a value; a
// section with half a key, an id that is there twice, and a text without any key are errors.
Result<AccessKeys> parse_credentials(std::string_view text);

}  // namespace thaw::gateway
