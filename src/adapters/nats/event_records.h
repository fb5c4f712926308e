// What the queue of events in NATS JetStream writes besides bodies: tokens of subjects, and one header field a message.
//
//   event   Thaw-Event: 1 LANE ACCEPTED_MS DUE_MS                                     beside its body
//   state   Thaw-State: 1 EVENT_SEQUENCE OWNER DUE_MS ATTEMPTS FAILURES               OWNER - : nobody has it
//   dead    Thaw-Dead:  1 ID LANE ACCEPTED_MS DIED_MS REASON                          beside its body
//   gone    a line each: ID EVENT_SEQUENCE STATE_SEQUENCE                             told, not stored
//
// The first word is the version. Ids, lanes and reasons are any bytes: letters, digits, - and _ stand for themselves,
// every other byte is =XX (hexadecimal). Numbers are decimal, times milliseconds since 1970.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::adapters {

std::string encode_token(std::string_view bytes);
// Errors: corrupt.
Result<std::string> decode_token(std::string_view token);

struct EventRecord {
  std::string lane;
  std::int64_t accepted_ms = 0;
  std::int64_t due_ms = 0;
  bool operator==(const EventRecord&) const = default;
};

// What is known of an event that has been given out at least once.
struct StateRecord {
  std::uint64_t event_sequence = 0;  // of the event that it is about: a later one under the same id has no state yet
  std::string owner;                 // the process that has it; empty: nobody
  std::int64_t due_ms = 0;
  std::uint32_t attempts = 0;
  std::uint32_t failures = 0;
  bool operator==(const StateRecord&) const = default;
};

struct DeadRecord {
  std::string id;
  std::string lane;
  std::int64_t accepted_ms = 0;
  std::int64_t died_ms = 0;
  std::string reason;
  bool operator==(const DeadRecord&) const = default;
};

// An event that was deleted, and its state.
struct GoneRecord {
  std::string id;
  std::uint64_t sequence = 0;
  std::uint64_t state_sequence = 0;
  bool operator==(const GoneRecord&) const = default;
};

std::string encode(const EventRecord& record);
std::string encode(const StateRecord& record);
std::string encode(const DeadRecord& record);
std::string encode(const GoneRecord& record);  // with its newline

// Errors of all: corrupt (no such record, or one of another version).
Result<EventRecord> decode_event_record(std::string_view text);
Result<StateRecord> decode_state_record(std::string_view text);
Result<DeadRecord> decode_dead_record(std::string_view text);
// Of one line, without its newline.
Result<GoneRecord> decode_gone_record(std::string_view text);

}  // namespace thaw::adapters
