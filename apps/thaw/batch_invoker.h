// Sends a batch's inputs to a function, each until there is an answer that counts.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>

#include "base/result.h"
#include "batch_item.h"
#include "client.h"

namespace thaw::cli {

// How a batch is brought to its end early. Threads: any.
class BatchStop {
 public:
  enum class Level : std::uint8_t {
    none,
    begin_no_more,  // what is under way may end
    let_go,         // nor that
  };

  void request(Level level);
  Level level() const;
  // False as soon as a stop is requested.
  bool sleep_for(std::chrono::milliseconds time) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Level level_ = Level::none;
};

// How many inputs are not under way now because something is waited for. Threads: any.
class BatchWaits {
 public:
  void begin(std::string why);
  void end();
  // "3 waiting: WHY", of the last one that began; empty when none waits.
  std::string text() const;

 private:
  mutable std::mutex mutex_;
  unsigned count_ = 0;
  std::string why_;
};

struct BatchTarget {
  bool takes_events = false;
  std::string method = "POST";
  std::string target;        // of every request
  std::string content_type;  // empty: the input's own
  std::chrono::seconds timeout{900};
  unsigned retries = 5;
};

// Ownership: a connection of its own; the target, the stop and the waits outlive it. Threads: one at a time.
class BatchInvoker {
 public:
  BatchInvoker(const Endpoint& endpoint, const BatchTarget& target, const BatchStop& stop, BatchWaits& waits)
      : client_(endpoint), target_(target), stop_(stop), waits_(waits) {}

  // Broken connections are tried anew, with longer and longer waits between; a full queue (429) and a daemon that is
  // starting or ending (503 with Retry-After) are waited for. Errors: the batch as a whole cannot go on, because the
  // daemon is away or refuses; and Client.Interrupted once a stop has been requested.
  Result<BatchOutcome> invoke(const BatchItem& item);

 private:
  Result<BatchOutcome> send(const BatchItem& item, std::chrono::milliseconds& busy_for);
  Result<Request> request_of(const BatchItem& item) const;
  std::chrono::milliseconds with_jitter(std::chrono::milliseconds wait);

  Client client_;
  const BatchTarget& target_;
  const BatchStop& stop_;
  BatchWaits& waits_;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace thaw::cli
