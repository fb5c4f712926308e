// What one process knows of a stream of events: which there are, who has which, and which of them may be taken.
//
// It is fed with every message of the stream in order, and with what this process itself has just stored or deleted, so
// that either may come first: sequence numbers say which is later.
//
// Threads: one at a time; its owner has the lock.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "adapters/nats/event_records.h"

namespace thaw::adapters {

class EventIndex {
 public:
  using Clock = std::chrono::steady_clock;

  struct Entry {
    std::string id;
    EventRecord event;
    std::uint64_t sequence = 0;  // of the event in the stream; 0: there is only a state, or nothing
    std::uint64_t bytes = 0;     // of its body
    StateRecord state;
    std::uint64_t state_sequence = 0;  // 0: it was never given out
    bool picked = false;               // this process is about to take it
    std::int64_t not_before_ms = 0;
    bool waits = false;  // in the set of those that may be taken, at due_ms
    std::int64_t due_ms = 0;

    bool has_state() const { return state_sequence != 0 && state.event_sequence == sequence; }
    bool given_out() const { return has_state() && !state.owner.empty(); }
  };

  struct Lease {
    std::string id;
    std::uint64_t sequence = 0;
    std::uint64_t state_sequence = 0;
    Clock::time_point until;
    bool followed = false;  // what follows it is stored
  };

  // self: this process, as an owner. Others that were not heard of for gone_after have what they had taken from them.
  EventIndex(std::string self, std::chrono::milliseconds gone_after)
      : self_(std::move(self)), gone_after_(gone_after) {}

  // The stream is read from its start once more; leases stay until what is read says otherwise.
  void begin();
  void note_seen(std::uint64_t sequence);
  void put(std::uint64_t sequence, const std::string& id, EventRecord event, std::uint64_t bytes);
  void set(std::uint64_t sequence, const std::string& id, StateRecord state);
  // These messages are in the stream no more.
  void erase_event(std::uint64_t sequence, const std::string& id);
  void erase_state(std::uint64_t sequence, const std::string& id);

  // Due ones, each lane getting its turn before one gets a second; they are picked until unpick(). next_due_ms is
  // lowered to when the next one is due.
  std::vector<Entry> pick(std::size_t count_max, const std::function<std::size_t(std::string_view)>& room,
                          std::int64_t now_ms, std::int64_t& next_due_ms);
  // not_before_ms: passed over until then.
  void unpick(const std::string& id, std::int64_t not_before_ms);

  // What was picked is had from now on; set() has been called. The handle.
  std::uint64_t lease(Lease lease);
  const Lease* find(std::uint64_t handle) const;
  void extend(std::uint64_t handle, Clock::time_point until);
  void note_followed(std::uint64_t handle);
  void release(std::uint64_t handle);
  // Releases those that ran out; when the next one does.
  Clock::time_point expire_leases(Clock::time_point now);

  // True when it had been given up.
  bool heard_of(const std::string& owner, Clock::time_point now);
  void forget_owner(const std::string& owner);
  // Nobody could be heard: everyone's time starts again.
  void heard_of_all(Clock::time_point now);
  // True when somebody is gone.
  bool expire_owners(Clock::time_point now);

  std::uint64_t events() const { return events_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t taken() const { return events_ - waiting_count_; }
  std::uint64_t messages() const { return messages_; }
  // The last message of the stream that this index knows of.
  std::uint64_t known() const { return known_; }
  std::uint64_t seen() const { return seen_; }
  // States whose event is gone: their sequences and ids, at most count_max.
  std::vector<std::pair<std::uint64_t, std::string>> orphans(std::size_t count_max) const;

 private:
  using Waiting = std::set<std::tuple<std::int64_t, std::uint64_t, Entry*>>;  // by due time, then by age

  bool is_gone(std::uint64_t sequence) const { return gone_.contains(sequence); }
  void note_gone(std::uint64_t sequence);
  void place(Entry& entry);
  void unplace(Entry& entry);
  void drop_if_empty(const std::string& id);
  bool had_by_other(const std::string& owner);
  void place_all_of(const std::string& owner);

  const std::string self_;
  const std::chrono::milliseconds gone_after_;
  std::unordered_map<std::string, Entry> entries_;
  std::map<std::string, Waiting, std::less<>> lanes_;
  std::string last_lane_;
  std::unordered_map<std::uint64_t, Lease> leases_;
  std::unordered_map<std::string, std::uint64_t> lease_of_;  // id to handle
  std::uint64_t last_handle_ = 0;
  struct Owner {
    Clock::time_point heard;
    bool gone = false;
  };
  std::unordered_map<std::string, Owner> owners_;
  std::set<std::uint64_t> gone_;  // deleted before they were read
  std::uint64_t seen_ = 0;
  std::uint64_t known_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t messages_ = 0;
  std::uint64_t waiting_count_ = 0;
};

}  // namespace thaw::adapters
