#include "adapters/redis/redis_row.h"

namespace thaw::adapters {

namespace {

void append_number(std::string& bytes, std::int64_t number) {
  const auto bits = static_cast<std::uint64_t>(number);
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(bits >> shift));
}

std::int64_t number_at(std::string_view bytes, std::size_t at) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < 8; ++i) bits = bits << 8 | static_cast<unsigned char>(bytes[at + i]);
  return static_cast<std::int64_t>(bits);
}

}  // namespace

std::string encode_redis_row(const ports::OnlineRow& row) {
  std::string bytes;
  bytes.reserve(kRedisRowHeadBytes + row.value.size());
  bytes.push_back(kRedisRowVersion);
  append_number(bytes, row.event_ms);
  append_number(bytes, row.created_ms);
  append_number(bytes, row.expires_ms);
  bytes += row.value;
  return bytes;
}

Result<ports::OnlineRow> decode_redis_row(std::string_view key, std::string_view bytes) {
  if (bytes.size() < kRedisRowHeadBytes || bytes.front() != kRedisRowVersion)
    return Error(ErrorKind::corrupt, "a row of the online store in Redis is not in the form that Thaw writes");
  return ports::OnlineRow{.key = std::string(key),
                          .value = std::string(bytes.substr(kRedisRowHeadBytes)),
                          .event_ms = number_at(bytes, 1),
                          .created_ms = number_at(bytes, 9),
                          .expires_ms = number_at(bytes, 17)};
}

}  // namespace thaw::adapters
