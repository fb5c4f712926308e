// The queue of events in a SQLite file of its own (docs/formats/events.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "ports/event_queue.h"

namespace thaw::adapters {

struct EventStoreLimits {
  std::uint64_t events_max = 100'000;
  std::uint64_t bytes_max = 1ULL << 30;  // of all bodies
  // The oldest of the dead go beyond these.
  std::uint64_t dead_max = 10'000;
  std::uint64_t dead_bytes_max = 64ULL << 20;
};

// One process at a time may have the file: leases of the one before are void. Errors: as EventQueue's; corrupt when the
// file is damaged, or of a later version.
Result<std::unique_ptr<ports::EventQueue>> open_event_store(const std::string& path, EventStoreLimits limits);

}  // namespace thaw::adapters
