#include "base/timestamp.h"

#include <cstdio>
#include <ctime>

namespace thaw {

std::string timestamp_now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::tm utc{};
  ::gmtime_r(&now.tv_sec, &utc);
  char text[64];
  const std::size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof(text) - length, ".%03d+0000", static_cast<int>(now.tv_nsec / 1000000));
  return text;
}

std::optional<std::int64_t> unix_seconds(const std::string& timestamp) {
  std::tm utc{};
  const char* const end = ::strptime(timestamp.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (end == nullptr || *end != '.' || !timestamp.ends_with("+0000")) return std::nullopt;
  return ::timegm(&utc);
}

}  // namespace thaw
