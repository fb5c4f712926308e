#include "adapters/nats/event_index.h"

#include <algorithm>

namespace thaw::adapters {

void EventIndex::begin() {
  entries_.clear();
  lanes_.clear();
  gone_.clear();
  seen_ = known_ = events_ = bytes_ = messages_ = waiting_count_ = 0;
}

void EventIndex::note_seen(std::uint64_t sequence) {
  seen_ = std::max(seen_, sequence);
  known_ = std::max(known_, sequence);
  gone_.erase(gone_.begin(), gone_.upper_bound(seen_));
}

void EventIndex::note_gone(std::uint64_t sequence) {
  known_ = std::max(known_, sequence);
  if (sequence > seen_) gone_.insert(sequence);
}

void EventIndex::put(std::uint64_t sequence, const std::string& id, EventRecord event, std::uint64_t bytes) {
  known_ = std::max(known_, sequence);
  Entry& entry = entries_[id];
  if (!is_gone(sequence) && sequence > entry.sequence) {
    unplace(entry);
    if (entry.sequence == 0) {
      ++events_;
      ++messages_;
    } else {
      bytes_ -= entry.bytes;
    }
    entry.id = id;
    entry.event = std::move(event);
    entry.sequence = sequence;
    entry.bytes = bytes;
    bytes_ += bytes;
    place(entry);
  }
  drop_if_empty(id);
}

void EventIndex::set(std::uint64_t sequence, const std::string& id, StateRecord state) {
  known_ = std::max(known_, sequence);
  Entry& entry = entries_[id];
  if (!is_gone(sequence) && sequence > entry.state_sequence) {
    unplace(entry);
    if (entry.state_sequence == 0) ++messages_;
    entry.id = id;
    entry.state = std::move(state);
    entry.state_sequence = sequence;
    place(entry);
  }
  drop_if_empty(id);
}

void EventIndex::erase_event(std::uint64_t sequence, const std::string& id) {
  note_gone(sequence);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.sequence != sequence) return;
  Entry& entry = found->second;
  unplace(entry);
  entry.sequence = 0;
  bytes_ -= entry.bytes;
  --events_;
  --messages_;
  drop_if_empty(id);
}

void EventIndex::erase_state(std::uint64_t sequence, const std::string& id) {
  note_gone(sequence);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.state_sequence != sequence) return;
  Entry& entry = found->second;
  unplace(entry);
  entry.state_sequence = 0;
  --messages_;
  place(entry);
  drop_if_empty(id);
}

void EventIndex::drop_if_empty(const std::string& id) {
  const auto found = entries_.find(id);
  if (found != entries_.end() && found->second.sequence == 0 && found->second.state_sequence == 0)
    entries_.erase(found);
}

bool EventIndex::had_by_other(const std::string& owner) {
  if (owner == self_) return false;
  const auto [found, fresh] = owners_.try_emplace(owner, Owner{Clock::now()});
  return !found->second.gone;
}

// Puts it among those that may be taken, where it is one.
void EventIndex::place(Entry& entry) {
  unplace(entry);
  if (const auto own = lease_of_.find(entry.id); own != lease_of_.end()) {
    const Lease& lease = leases_.at(own->second);
    // A state that is not there, or is older, is one that has not been read yet.
    if (entry.sequence > lease.sequence || entry.state_sequence > lease.state_sequence) {
      release(own->second);
      return;  // which has placed it
    }
    if (entry.sequence == lease.sequence) return;
  }
  if (entry.sequence == 0 || entry.picked) return;
  entry.due_ms = entry.event.due_ms;
  if (entry.has_state()) {
    if (!entry.state.owner.empty() && had_by_other(entry.state.owner)) return;
    entry.due_ms = entry.state.owner.empty() ? entry.state.due_ms : 0;
  }
  entry.due_ms = std::max(entry.due_ms, entry.not_before_ms);
  lanes_[entry.event.lane].emplace(entry.due_ms, entry.sequence, &entry);
  entry.waits = true;
  ++waiting_count_;
}

void EventIndex::unplace(Entry& entry) {
  if (!entry.waits) return;
  entry.waits = false;
  --waiting_count_;
  const auto lane = lanes_.find(entry.event.lane);
  lane->second.erase({entry.due_ms, entry.sequence, &entry});
  if (lane->second.empty()) lanes_.erase(lane);
}

std::vector<EventIndex::Entry> EventIndex::pick(std::size_t count_max,
                                                const std::function<std::size_t(std::string_view)>& room,
                                                std::int64_t now_ms, std::int64_t& next_due_ms) {
  struct Turn {
    std::size_t room;
    Waiting::iterator next, end;
    const std::string* lane;
  };
  std::vector<Turn> turns;
  for (auto& [lane, waiting] : lanes_) {
    const std::size_t places = std::min(room ? room(lane) : count_max, count_max);
    if (places > 0) turns.push_back({places, waiting.begin(), waiting.end(), &lane});
  }
  // Who comes first moves on from call to call.
  const auto first =
      std::find_if(turns.begin(), turns.end(), [&](const Turn& turn) { return *turn.lane > last_lane_; });
  std::rotate(turns.begin(), first == turns.end() ? turns.begin() : first, turns.end());
  std::vector<Entry*> chosen;
  for (bool more = true; more && chosen.size() < count_max;) {
    more = false;
    for (Turn& turn : turns) {
      if (chosen.size() == count_max) break;
      if (turn.room == 0 || turn.next == turn.end) continue;
      if (std::get<0>(*turn.next) > now_ms) {
        next_due_ms = std::min(next_due_ms, std::get<0>(*turn.next));
        turn.room = 0;
        continue;
      }
      chosen.push_back(std::get<2>(*turn.next++));
      --turn.room;
      more = true;
    }
  }
  std::vector<Entry> picked;
  for (Entry* entry : chosen) {
    last_lane_ = entry->event.lane;
    unplace(*entry);
    entry->picked = true;
    picked.push_back(*entry);
  }
  return picked;
}

void EventIndex::unpick(const std::string& id, std::int64_t not_before_ms) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  found->second.picked = false;
  found->second.not_before_ms = not_before_ms;
  place(found->second);
}

std::uint64_t EventIndex::lease(Lease lease) {
  const std::uint64_t handle = ++last_handle_;
  const std::string id = lease.id;
  lease_of_[id] = handle;
  leases_[handle] = std::move(lease);
  if (const auto found = entries_.find(id); found != entries_.end()) {
    found->second.picked = false;
    place(found->second);
  }
  return handle;
}

const EventIndex::Lease* EventIndex::find(std::uint64_t handle) const {
  const auto found = leases_.find(handle);
  return found == leases_.end() ? nullptr : &found->second;
}

void EventIndex::extend(std::uint64_t handle, Clock::time_point until) {
  if (const auto found = leases_.find(handle); found != leases_.end()) found->second.until = until;
}

void EventIndex::note_followed(std::uint64_t handle) {
  if (const auto found = leases_.find(handle); found != leases_.end()) found->second.followed = true;
}

void EventIndex::release(std::uint64_t handle) {
  const auto found = leases_.find(handle);
  if (found == leases_.end()) return;
  const std::string id = found->second.id;
  leases_.erase(found);
  lease_of_.erase(id);
  if (const auto entry = entries_.find(id); entry != entries_.end()) place(entry->second);
}

EventIndex::Clock::time_point EventIndex::expire_leases(Clock::time_point now) {
  auto next = Clock::time_point::max();
  std::vector<std::uint64_t> over;
  for (const auto& [handle, lease] : leases_) {
    if (lease.until <= now) {
      over.push_back(handle);
    } else {
      next = std::min(next, lease.until);
    }
  }
  for (const std::uint64_t handle : over) release(handle);
  return next;
}

bool EventIndex::heard_of(const std::string& owner, Clock::time_point now) {
  if (owner == self_) return false;
  Owner& known = owners_[owner];
  known.heard = now;
  if (!std::exchange(known.gone, false)) return false;
  place_all_of(owner);
  return true;
}

void EventIndex::forget_owner(const std::string& owner) {
  if (owner == self_) return;
  owners_[owner].gone = true;
  place_all_of(owner);
}

void EventIndex::heard_of_all(Clock::time_point now) {
  for (auto& [name, owner] : owners_) owner.heard = now;
}

bool EventIndex::expire_owners(Clock::time_point now) {
  bool any = false;
  std::set<std::string> named;  // by states; others are worth remembering no longer
  std::vector<std::string> over;
  for (auto& [name, owner] : owners_) {
    if (!owner.gone && now - owner.heard > gone_after_) over.push_back(name);
  }
  for (const std::string& name : over) {
    owners_[name].gone = true;
    place_all_of(name);
    any = true;
  }
  constexpr std::size_t kOwnersMax = 1000;
  if (owners_.size() > kOwnersMax) {
    for (const auto& [id, entry] : entries_) named.insert(entry.state.owner);
    std::erase_if(owners_, [&](const auto& one) { return one.second.gone && !named.contains(one.first); });
  }
  return any;
}

void EventIndex::place_all_of(const std::string& owner) {
  for (auto& [id, entry] : entries_) {
    if (entry.sequence != 0 && entry.given_out() && entry.state.owner == owner) place(entry);
  }
}

std::vector<std::pair<std::uint64_t, std::string>> EventIndex::orphans(std::size_t count_max) const {
  std::vector<std::pair<std::uint64_t, std::string>> found;
  for (const auto& [id, entry] : entries_) {
    if (entry.sequence == 0 && found.size() < count_max) found.emplace_back(entry.state_sequence, id);
  }
  return found;
}

}  // namespace thaw::adapters
