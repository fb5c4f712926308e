// Where a Redis server is, as people write it:
//   redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]
//   redis+unix://[[USER]:PASSWORD@]/PATH/OF/SOCKET[?db=DB]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::adapters {

inline constexpr std::size_t kRedisUrlBytesMax = 4096;
inline constexpr std::uint32_t kRedisDatabasesMax = 1 << 20;

struct RedisAddress {
  std::string host;
  std::uint16_t port = 6379;
  std::string socket;  // a path; empty: host and port
  std::string user;
  std::string password;
  std::uint32_t database = 0;

  // Without user and password.
  std::string name() const;
};

// Errors: invalid_argument, without the password; unsupported: rediss://.
Result<RedisAddress> parse_redis_address(std::string_view url);

}  // namespace thaw::adapters
