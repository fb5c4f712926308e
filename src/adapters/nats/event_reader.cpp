#include "adapters/nats/event_reader.h"

#include <algorithm>

#include "base/log.h"
#include "ports/event_queue.h"

namespace thaw::adapters {
namespace {

using Clock = EventIndex::Clock;

// So many more messages in the index than in the stream, check after check, are not ones that are on their way.
constexpr std::uint64_t kExcessMax = 1000;
constexpr int kExcessesMax = 3;

}  // namespace

EventReader::EventReader(NatsConnection& connection, EventStreams& streams, EventView& view, Options options)
    : connection_(connection), streams_(streams), view_(view), options_(std::move(options)) {}

EventReader::~EventReader() {
  {
    const std::lock_guard lock(view_.mutex);
    stopping_ = true;
    view_.changed.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  connection_.hush();
  (void)connection_.tell(streams_.bye_subject(), options_.self).ok();
}

Status EventReader::start() {
  RETURN_IF_ERROR(connection_.listen(streams_.told_subjects(), [this](natsMsg* message) { hear(message); }));
  thread_ = std::thread([this] { run(); });
  return {};
}

// These may be anybody's: what is not understood is passed over.
void EventReader::hear(natsMsg* message) {
  const std::string_view subject = natsMsg_GetSubject(message);
  std::string_view text = body_of(message);
  const auto now = Clock::now();
  const std::lock_guard lock(view_.mutex);
  if (subject == streams_.beat_subject() && text.size() <= ports::kEventIdBytesMax) {
    if (!view_.index.heard_of(std::string(text), now)) return;
  } else if (subject == streams_.bye_subject() && text.size() <= ports::kEventIdBytesMax) {
    view_.index.forget_owner(std::string(text));
  } else if (subject == streams_.gone_subject()) {
    while (!text.empty()) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      if (const auto gone = decode_gone_record(text.substr(0, end)); gone.ok()) {
        view_.index.erase_event(gone->sequence, gone->id);
        view_.index.erase_state(gone->state_sequence, gone->id);
      }
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }
  view_.note_change();
}

void EventReader::run() {
  while (true) {
    {
      std::unique_lock lock(view_.mutex);
      if (stopping_) break;
    }
    live();
    if (reader_ == nullptr && !begin()) {
      std::unique_lock lock(view_.mutex);
      view_.changed.wait_for(lock, kReadEvery, [this] { return stopping_; });
      continue;
    }
    natsMsg* raw = nullptr;
    const natsStatus status = natsSubscription_NextMsg(&raw, reader_.get(), kReadEvery.count());
    const NatsMessage message(raw);
    const bool last = status == NATS_OK && apply(raw);
    if (!loaded_ && (last || (status == NATS_TIMEOUT && is_read()))) set_loaded();
    if ((status != NATS_OK && status != NATS_TIMEOUT) || connection_.generation() != generation_ || is_stale())
      stop_reading();
  }
  reader_.reset();
}

bool EventReader::begin() {
  generation_ = connection_.generation();
  auto reader = streams_.read();
  if (!reader.ok()) {
    log::debug("events_stream_not_read error=\"{}\"", reader.error().message);
    return false;
  }
  reader_ = std::move(*reader);
  loaded_ = false;
  read_count_ = 0;
  {
    const std::lock_guard lock(view_.mutex);
    view_.index.begin();
    view_.index.heard_of_all(Clock::now());
  }
  if (is_read()) set_loaded();
  return true;
}

void EventReader::stop_reading() {
  natsSubscription_Unsubscribe(reader_.get());
  reader_.reset();
  const std::lock_guard lock(view_.mutex);
  view_.loaded = false;
  view_.note_change();
}

// Whether it is the last one for now.
bool EventReader::apply(natsMsg* message) {
  jsMsgMetaData* raw = nullptr;
  if (natsMsg_GetMetaData(&raw, message) != NATS_OK) return false;
  const NatsOwned<jsMsgMetaData> about(raw);
  const std::uint64_t sequence = about->Sequence.Stream;
  read_count_ = about->Sequence.Consumer;
  const auto name = streams_.name_of(natsMsg_GetSubject(message));
  const auto event = decode_event_record(field_of(message, "Thaw-Event"));
  const auto state = decode_state_record(field_of(message, "Thaw-State"));
  const std::string bytes = field_of(message, "Nats-Msg-Size");
  const std::lock_guard lock(view_.mutex);
  if (name.ok() && name->is_event && event.ok()) {
    view_.index.put(sequence, name->id, *event, std::strtoull(bytes.c_str(), nullptr, 10));
  } else if (name.ok() && !name->is_event && state.ok()) {
    view_.index.set(sequence, name->id, *state);
  } else {
    log::error("events_message_unreadable sequence={}", sequence);
  }
  view_.index.note_seen(sequence);
  if (view_.loaded) view_.note_change();
  return about->NumPending == 0;
}

// Everything that was in the stream has come.
bool EventReader::is_read() {
  jsConsumerInfo* raw = nullptr;
  const natsStatus status = natsSubscription_GetConsumerInfo(&raw, reader_.get(), nullptr, nullptr);
  const NatsOwned<jsConsumerInfo> info(raw);
  if (status != NATS_OK) return false;
  if (info->NumPending != 0 || info->Delivered.Consumer > read_count_) return false;
  // The last messages may have been deleted before they were read.
  const std::lock_guard lock(view_.mutex);
  view_.index.note_seen(info->Delivered.Stream);
  return true;
}

void EventReader::set_loaded() {
  loaded_ = true;
  const std::lock_guard lock(view_.mutex);
  view_.loaded = true;
  view_.note_change();
}

// Says that this process lives, and takes note of those that do not.
void EventReader::live() {
  const auto now = Clock::now();
  if (now - beaten_at_ < options_.owner_gone / 5) return;
  beaten_at_ = now;
  const bool told = connection_.tell(streams_.beat_subject(), options_.self).ok();
  std::vector<std::pair<std::uint64_t, std::string>> orphans;
  {
    const std::lock_guard lock(view_.mutex);
    // Without the server nobody can be heard, which says nothing about them.
    if (!told || !view_.loaded) {
      view_.index.heard_of_all(now);
      return;
    }
    if (view_.index.expire_owners(now)) view_.note_change();
    orphans = view_.index.orphans(kOrphansMax);
    for (const auto& [sequence, id] : orphans) view_.index.erase_state(sequence, id);
  }
  for (const auto& [sequence, id] : orphans) streams_.erase_later(sequence);
}

// What others delete is told, not read, and may be missed: the stream's own counts show it.
bool EventReader::is_stale() {
  const auto now = Clock::now();
  if (!loaded_ || now - checked_at_ < kCheckEvery) return false;
  checked_at_ = now;
  const auto counts = streams_.counts();
  if (!counts.ok()) return false;
  const std::lock_guard lock(view_.mutex);
  const std::uint64_t messages = view_.index.messages();
  excesses_ = messages > counts->messages + kExcessMax ? excesses_ + 1 : 0;
  const bool quiet = counts->last == last_counts_.last && counts->messages == last_counts_.messages;
  last_counts_ = *counts;
  const bool stale =
      excesses_ > kExcessesMax || (quiet && (messages != counts->messages || counts->last > view_.index.known()));
  if (stale) {
    log::warn("events_stream_read_again messages={} known={} last={} known_last={}", counts->messages, messages,
              counts->last, view_.index.known());
    excesses_ = 0;
    last_counts_ = {};
  }
  return stale;
}

}  // namespace thaw::adapters
