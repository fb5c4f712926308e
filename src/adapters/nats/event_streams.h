// The streams of the queue of events on a JetStream server: made, asked, written to.
//
// Threads: any. Errors: as NatsConnection's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adapters/nats/connection.h"
#include "adapters/nats/event_queue.h"
#include "adapters/nats/event_records.h"

namespace thaw::adapters {

// What a server said to a message that was to be stored.
struct Stored {
  enum class Kind : std::uint8_t { stored, other_sequence, full, failed };
  Kind kind = Kind::failed;
  std::uint64_t sequence = 0;
  std::string why;  // of full and failed
};

class EventStreams {
 public:
  // Of bodies that are under way at once.
  static constexpr std::size_t kBatchBytesMax = 16 << 20;
  static constexpr std::size_t kBatchMax = 1000;

  EventStreams(NatsConnection& connection, std::string stream);

  // Makes what is missing, and sees whether the server can hold events.
  Status open(const NatsQueueOptions& options);

  std::string read_subject() const { return stream_ + ".q.>"; }
  std::string beat_subject() const { return stream_ + ".h.beat"; }
  std::string gone_subject() const { return stream_ + ".h.gone"; }
  std::string bye_subject() const { return stream_ + ".h.bye"; }
  std::string told_subjects() const { return stream_ + ".h.*"; }
  // The id in a subject of the stream, and whether it is of an event or of a state.
  struct Name {
    bool is_event = false;
    std::string id;
  };
  Result<Name> name_of(std::string_view subject) const;

  // expected: the sequence that the subject's last message must have; 0: there must be none.
  NatsRequest event(const std::string& id, const EventRecord& record, std::string_view body) const;
  NatsRequest state(const std::string& id, const StateRecord& record, std::uint64_t expected) const;
  // once: names the message, so that it is stored once within the server's window for duplicates.
  NatsRequest dead(const DeadRecord& record, std::string_view body, const std::string& once) const;
  // Answers in the order of the requests; one that had none is `failed`.
  Result<std::vector<Stored>> store(std::span<const NatsRequest> requests);

  // Overwritten in the server's files, too: what is deleted without that may come back when the server is killed (2.9
  // writes its lists of deleted messages every two minutes). Those that are there no more are passed over. Errors:
  // unavailable when one was not answered.
  Status erase(std::span<const std::uint64_t> sequences);
  // The same without waiting for the answer.
  void erase_later(std::uint64_t sequence);

  // Messages by sequence; an empty one where there is none. Errors: unavailable when one was not answered.
  Result<std::vector<NatsMessage>> get(std::span<const std::uint64_t> sequences);

  struct Counts {
    std::uint64_t messages = 0;
    std::uint64_t first = 0;
    std::uint64_t last = 0;
  };
  Result<Counts> counts();
  Result<Counts> dead_counts();
  Result<std::vector<NatsMessage>> get_dead(std::span<const std::uint64_t> sequences);

  // All messages of the stream from the first, without bodies, in order and on.
  Result<NatsOwned<natsSubscription>> read();

 private:
  Status ensure(jsStreamConfig& wanted);
  Result<Counts> counts_of(const std::string& stream);
  Result<std::vector<NatsMessage>> get_from(const std::string& stream, std::span<const std::uint64_t> sequences);

  NatsConnection& connection_;
  const std::string stream_;
  const std::string dead_stream_;
  NatsOwned<jsCtx> context_;
};

}  // namespace thaw::adapters
