// An online store in one Redis server (or Valkey, KeyDB; no cluster). With PREFIX of the settings:
//
//   PREFIX row:LENGTH:TABLE:KEY   a string: the row (redis_row.h), with Redis's own expiry; LENGTH is TABLE's
//   PREFIX keys:TABLE             a sorted set of the table's keys, all of score 0: what scan() and drop() walk in
//   order
//
// Rows and their place in the set change together, in scripts that the server runs whole; the newer row's staying is
// decided there too. Keys of rows that expired leave the set when a scan meets them. A server that evicts
// (maxmemory-policy other than noeviction) loses rows; as a cache that is what one wants.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "adapters/redis/redis_address.h"
#include "ports/online_store.h"

namespace thaw::adapters {

struct RedisStoreSettings {
  RedisAddress address;
  std::string prefix = "thaw:online:";
  std::size_t connections_max = 16;
  std::chrono::milliseconds connect_timeout{1000};
  std::chrono::milliseconds command_timeout{2000};
};

// Connects at its first use; then and whenever the server is away, calls end with unavailable.
std::unique_ptr<ports::OnlineStore> open_redis_online_store(RedisStoreSettings settings);

}  // namespace thaw::adapters
