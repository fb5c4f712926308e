// What the queue keeps (docs/formats/events.md): an event for a function, or the record of one that is over, for a
// destination. A line of JSON about it, then the payload.
//
// Ownership: plain values. Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::events {

// Lambda's limit of asynchronous invocations ("Lambda quotas", AWS Lambda Developer Guide).
inline constexpr std::size_t kEventPayloadBytesMax = 1 << 20;
// Of the line about it.
inline constexpr std::size_t kEventLineBytesMax = 64 << 10;

struct QueuedEvent {
  enum class Kind : std::uint8_t { invoke, deliver };
  Kind kind = Kind::invoke;
  std::string function;      // its name; of a record, whose it is
  std::string qualifier;     // as the caller gave it; empty: $LATEST
  std::string function_arn;  // with the qualifier
  std::string client_context;
  std::string trace_id;
  std::string target;       // of a record: where it goes (model/destination.h)
  std::uint32_t chain = 0;  // how many functions' destinations and calls have led to this event
  std::string payload;      // JSON

  bool operator==(const QueuedEvent&) const = default;
};

// The lane of a function's events: its name without regard to case. That of records: their target.
std::string lane_of(const QueuedEvent& event);
std::string lane_of_function(std::string_view name);

std::string encode_queued_event(const QueuedEvent& event);
// Errors: corrupt.
Result<QueuedEvent> decode_queued_event(std::string_view stored);

}  // namespace thaw::events
