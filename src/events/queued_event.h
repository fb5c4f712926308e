// An accepted event as the queue keeps it (docs/formats/events.md): a line of JSON about it, then its payload.
//
// Ownership: plain values. Threads: any.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::events {

// Lambda's limit of asynchronous invocations ("Lambda quotas", AWS Lambda Developer Guide).
inline constexpr std::size_t kEventPayloadBytesMax = 1 << 20;
// Of the line about it.
inline constexpr std::size_t kEventLineBytesMax = 64 << 10;

struct QueuedEvent {
  std::string function;      // its name
  std::string qualifier;     // as the caller gave it; empty: $LATEST
  std::string function_arn;  // with the qualifier
  std::string client_context;
  std::string trace_id;
  std::string payload;  // JSON

  bool operator==(const QueuedEvent&) const = default;
};

// The lane of a function's events: its name without regard to case.
std::string lane_of(std::string_view function);

std::string encode_queued_event(const QueuedEvent& event);
// Errors: corrupt.
Result<QueuedEvent> decode_queued_event(std::string_view stored);

}  // namespace thaw::events
