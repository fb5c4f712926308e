// What follows an event that is over: records for its function's destinations ("Capturing records of Lambda
// asynchronous invocations", AWS Lambda Developer Guide), as events that take its place in the queue.
//
// Ownership: plain values. Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "events/event_invoker.h"
#include "events/queued_event.h"
#include "model/settings.h"
#include "ports/event_queue.h"

namespace thaw::events {

// Lambda stops loops of functions after about as many.
inline constexpr std::uint32_t kChainMax = 16;
// A record that would be larger goes without its responsePayload.
inline constexpr std::size_t kRecordBytesMax = 8 << 20;

enum class Condition : std::uint8_t { success, retries_exhausted, event_age_exceeded };
// "Success", "RetriesExhausted", "EventAgeExceeded".
std::string_view to_string(Condition condition);

struct Ending {
  const QueuedEvent& event;
  std::string request_id;
  Condition condition = Condition::success;
  std::uint32_t attempts = 0;
  const EventResult* result = nullptr;  // of the last try; none when it was too old to be tried
};

// Version 1.0 of Lambda's record, as JSON. timestamp: as it shall stand there.
std::string destination_record(const Ending& ending, std::string_view timestamp);

// The events that follow, for what the configuration names. Errors: unsupported when the chain of destinations is
// longer than kChainMax; invalid_argument for a destination that cannot be.
Result<std::vector<ports::NewEvent>> follow_ups(const Ending& ending, const model::EventInvokeConfig& config);

}  // namespace thaw::events
