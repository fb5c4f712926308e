// Events that were accepted and have not been done with yet: a durable queue. Adapters (src/adapters) implement it; all
// pass the contract of ports/event_queue_contract_test.h.
//
// An event is opaque here: a body under an id, in a lane (a function's name, for example). What is taken is leased: it
// comes back when the lease runs out, and after a restart of the process that held it, so an event is given out once or
// more, never not at all.
//
// A queue on a server may be weaker where its connection or the server ends in the midst of a call, and says so: of a
// put() that failed a part may be stored, and what follows a done event may be stored though the event comes again.
//
// Calls block their thread. Retrying is the caller's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::ports {

inline constexpr std::size_t kEventIdBytesMax = 128;
inline constexpr std::size_t kEventLaneBytesMax = 128;
inline constexpr std::size_t kEventBodyBytesMax = 9 << 20;
inline constexpr std::size_t kEventReasonBytesMax = 256;

// All times are milliseconds since 1970, by the machine's clock of day.
struct NewEvent {
  std::string id;  // one that the queue has already is put once all the same
  std::string lane;
  std::string body;
  std::int64_t accepted_ms = 0;
  std::int64_t due_ms = 0;  // given out from then on
};

// Errors: invalid_argument, naming what is beyond its bound.
inline Status check_events(std::span<const NewEvent> events) {
  for (const NewEvent& event : events) {
    if (event.id.empty() || event.id.size() > kEventIdBytesMax)
      return invalid_argument("an event's id must have 1 to " + std::to_string(kEventIdBytesMax) + " bytes");
    if (event.lane.empty() || event.lane.size() > kEventLaneBytesMax)
      return invalid_argument("an event's lane must have 1 to " + std::to_string(kEventLaneBytesMax) + " bytes");
    if (event.body.size() > kEventBodyBytesMax)
      return invalid_argument("an event's body must have at most " + std::to_string(kEventBodyBytesMax) + " bytes");
  }
  return {};
}

struct TakenEvent {
  std::uint64_t handle = 0;  // names this lease in settle()
  std::string id;
  std::string lane;
  std::string body;
  std::int64_t accepted_ms = 0;
  // As the last retry left them; 0 at first.
  std::uint32_t attempts = 0;
  std::uint32_t failures = 0;
  // Given out before without a word of what became of it: its process died, or the lease ran out.
  bool again = false;
};

struct Take {
  std::size_t count_max = 1;
  std::chrono::milliseconds lease{60000};
  // How long to wait for a first event; wake() ends the wait.
  std::chrono::milliseconds wait_max{0};
  // How many events of the lane may be taken now. Empty: as many as there are. It must not call the queue.
  std::function<std::size_t(std::string_view lane)> room = {};
};

// What became of a taken event.
struct Settlement {
  enum class Kind : std::uint8_t {
    done,    // it goes, and `next` are put in its place, whatever the queue's bounds; both or neither (above)
    retry,   // it is given out again from due_ms on, with these attempts and failures
    extend,  // its lease ends at due_ms
    bury,    // it goes, and is kept among the dead with a reason
  };
  std::uint64_t handle = 0;
  Kind kind = Kind::done;
  std::int64_t due_ms = 0;
  std::uint32_t attempts = 0;
  std::uint32_t failures = 0;
  std::string reason = {};  // at most kEventReasonBytesMax are kept
  std::vector<NewEvent> next = {};
};

struct QueueCounts {
  std::uint64_t events = 0;  // put and not settled for good, the taken ones too
  std::uint64_t bytes = 0;   // of their bodies
  std::uint64_t taken = 0;
  std::uint64_t dead = 0;
};

struct DeadEvent {
  std::string id;
  std::string lane;
  std::string body;
  std::string reason;
  std::int64_t accepted_ms = 0;
  std::int64_t died_ms = 0;
};

// Threads: every method from any, at the same time.
// Errors, of all: unavailable (the store cannot be reached or written now: try again; the message says why), corrupt,
// invalid_argument (an id, lane or body beyond its bound), internal. put(): overloaded when the queue is full.
class EventQueue {
 public:
  virtual ~EventQueue() = default;

  // All of them are stored, durably, or none (but see above).
  virtual Status put(std::span<const NewEvent> events) = 0;
  // Due events, shared out over the lanes that have some; none when there are none within wait_max.
  virtual Result<std::vector<TakenEvent>> take(const Take& take) = 0;
  // Ends the wait of a take() that waits, or of the next one.
  virtual void wake() = 0;
  // Leases that have run out, or were settled, are passed over.
  virtual Status settle(std::span<const Settlement> settlements) = 0;
  virtual Result<QueueCounts> counts() = 0;
  // The latest first.
  virtual Result<std::vector<DeadEvent>> dead(std::size_t count_max) = 0;
};

}  // namespace thaw::ports
