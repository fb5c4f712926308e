// Keeps the index of a stream of events true: reads the stream from its start and on, hears what other nodes tell, says
// that this one lives, and reads the stream again after the server was away or something was missed.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "adapters/nats/event_index.h"
#include "adapters/nats/event_streams.h"

namespace thaw::adapters {

// The index, and what guards it.
struct EventView {
  EventView(const std::string& self, std::chrono::milliseconds owner_gone) : index(self, owner_gone) {}

  // With the lock held.
  void note_change() {
    ++changes;
    changed.notify_all();
  }

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex, all that follows.
  EventIndex index;
  std::uint64_t changes = 0;
  bool loaded = false;  // the stream has been read to its end
};

// Ownership: borrows all it is given. Threads: one of its own; those of the connection. The lock of the view is not
// held while the server is asked.
class EventReader {
 public:
  // A wait for a message of the stream.
  static constexpr std::chrono::milliseconds kReadEvery{200};

  struct Options {
    std::string self;
    std::chrono::milliseconds owner_gone;
  };

  EventReader(NatsConnection& connection, EventStreams& streams, EventView& view, Options options);
  ~EventReader();
  Status start();

 private:
  static constexpr std::chrono::milliseconds kCheckEvery{5000};
  static constexpr std::size_t kOrphansMax = 256;  // cleared at a time

  void hear(natsMsg* message);
  void run();
  bool begin();
  void stop_reading();
  bool apply(natsMsg* message);
  bool is_read();
  void set_loaded();
  void live();
  bool is_stale();

  NatsConnection& connection_;
  EventStreams& streams_;
  EventView& view_;
  const Options options_;
  bool stopping_ = false;  // guarded by view_.mutex

  // The thread's alone, all that follows.
  NatsOwned<natsSubscription> reader_;
  std::uint64_t generation_ = 0;
  bool loaded_ = false;
  std::uint64_t read_count_ = 0;  // messages that came since begin()
  EventIndex::Clock::time_point beaten_at_, checked_at_;
  EventStreams::Counts last_counts_;
  int excesses_ = 0;
  std::thread thread_;
};

}  // namespace thaw::adapters
