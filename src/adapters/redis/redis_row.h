// How a row of an online store lies in a Redis string:
//
//   byte 0        1, the version
//   bytes 1-8     event time, milliseconds since 1970, signed, big-endian
//   bytes 9-16    time of creation, likewise
//   bytes 17-24   time of expiry, likewise; 0: never
//   from 25 on    the value
//
// The first 17 bytes are what the server compares of two rows (write_script in online_store.cpp).
#pragma once

#include <string>
#include <string_view>

#include "ports/online_store.h"

namespace thaw::adapters {

inline constexpr char kRedisRowVersion = 1;
inline constexpr std::size_t kRedisRowHeadBytes = 25;

std::string encode_redis_row(const ports::OnlineRow& row);
// Errors: corrupt.
Result<ports::OnlineRow> decode_redis_row(std::string_view key, std::string_view bytes);

}  // namespace thaw::adapters
