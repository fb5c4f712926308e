// The queue of events in NATS JetStream: streams on a server that outlive any node, which one node has for itself or
// several share.
//
//   STREAM       STREAM.q.e.ID   an event: its body, and a Thaw-Event field; never changed
//                STREAM.q.s.ID   its state, from the first time that it is given out: who has it, or when it is due
//                again
//   STREAM_DEAD  STREAM.dead     dead events; the oldest go beyond the bounds
//   (not stored) STREAM.h.beat, STREAM.h.gone, STREAM.h.bye: what the nodes tell each other
//
// Each subject holds one message. Whatever must not happen twice is a publish that expects the subject's last sequence:
// an id is put once, and of two nodes that take an event one gets it. Leases are kept by the process that has them; it
// says every few seconds that it lives. Of one that is silent for owner_gone, the others take what it had. Hence after
// a kill what was taken is given out again after owner_gone, by the same machine or another.
//
// Weaker than a queue with transactions: put() of several, and `next` of a settlement, are several messages. The server
// or this process may go in their midst: a part of a put that failed may be in the queue; an event whose `next` is
// stored may be given out again, and its `next` be put twice. Nothing that was promised is lost.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "ports/event_queue.h"

namespace thaw::adapters {

struct NatsQueueOptions {
  std::string urls;              // as check_nats_urls() has it
  std::string stream = "THAW";   // as check_nats_stream() has it
  std::string credentials_file;  // empty: none but what the address says
  std::uint64_t events_max = 100'000;
  std::uint64_t bytes_max = 1ULL << 30;  // of all bodies
  std::uint64_t dead_max = 10'000;
  std::uint64_t dead_bytes_max = 64ULL << 20;
  std::chrono::milliseconds owner_gone{10000};
};

// Letters, digits, - and _, 1 to 64. Errors: invalid_argument.
Status check_nats_stream(std::string_view name);

// The bounds hold for each node as it sees the stream; the streams are made where there are none, and otherwise used
// as they are. Errors: as EventQueue's; unavailable when the server cannot be reached; unsupported when it cannot hold
// events as it is configured, or the stream is another's.
Result<std::unique_ptr<ports::EventQueue>> open_nats_event_queue(const NatsQueueOptions& options);

}  // namespace thaw::adapters
