#include "adapters/nats/connection.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <unordered_map>

#include "adapters/nats/urls.h"
#include "base/log.h"

namespace thaw::adapters {
namespace {

constexpr std::int64_t kReconnectWaitMs = 250;
// A server that is silent for two of these is gone.
constexpr std::int64_t kPingEveryMs = 5000;

// Answers that are waited for.
struct Batch {
  std::vector<NatsMessage> answers;
  std::size_t missing = 0;
};

}  // namespace

std::string_view body_of(const natsMsg* message) {
  const int length = natsMsg_GetDataLength(message);
  return length <= 0 ? std::string_view()
                     : std::string_view(natsMsg_GetData(message), static_cast<std::size_t>(length));
}

std::string field_of(natsMsg* message, const char* name) {
  const char* value = nullptr;
  return natsMsgHeader_Get(message, name, &value) == NATS_OK && value != nullptr ? value : "";
}

// The library's threads come in through the static functions; `subscriptions` and `closed` tell when they come no more.
struct NatsConnection::State {
  std::string shown;  // of the server, for messages
  NatsOwned<natsConnection> connection;
  NatsOwned<natsSubscription> inbox, listener;
  std::string inbox_prefix;
  std::mutex heard_mutex;  // before any other
  std::function<void(natsMsg*)> heard;
  std::atomic<std::uint64_t> generation{1};

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex, all that follows.
  std::unordered_map<std::string, std::pair<Batch*, std::size_t>> waiting;  // by the last part of the inbox
  std::uint64_t last_token = 0;
  std::uint64_t disconnects = 0;
  int subscriptions = 0;
  bool closing = false;
  bool closed = true;

  static void answered(natsConnection* /*nc*/, natsSubscription* /*sub*/, natsMsg* raw, void* closure) {
    auto& self = *static_cast<State*>(closure);
    NatsMessage message(raw);
    const std::string_view subject = natsMsg_GetSubject(raw);
    const std::lock_guard lock(self.mutex);
    const auto found = self.waiting.find(std::string(subject.substr(subject.rfind('.') + 1)));
    if (found == self.waiting.end()) return;
    const auto [batch, index] = found->second;
    batch->answers[index] = std::move(message);
    self.waiting.erase(found);
    if (--batch->missing == 0) self.changed.notify_all();
  }
  static void was_heard(natsConnection* /*nc*/, natsSubscription* /*sub*/, natsMsg* raw, void* closure) {
    const NatsMessage message(raw);
    auto& self = *static_cast<State*>(closure);
    const std::lock_guard lock(self.heard_mutex);
    if (self.heard) self.heard(raw);
  }
  static void subscription_over(void* closure) {
    auto& self = *static_cast<State*>(closure);
    const std::lock_guard lock(self.mutex);
    --self.subscriptions;
    self.changed.notify_all();
  }
  static void disconnected(natsConnection* /*nc*/, void* closure) {
    auto& self = *static_cast<State*>(closure);
    const std::lock_guard lock(self.mutex);
    if (!self.closing) log::warn("events_server_away server={}", self.shown);
    ++self.disconnects;
    self.changed.notify_all();
  }
  static void reconnected(natsConnection* /*nc*/, void* closure) {
    auto& self = *static_cast<State*>(closure);
    log::info("events_server_back server={}", self.shown);
    ++self.generation;
  }
  static void is_closed(natsConnection* /*nc*/, void* closure) {
    auto& self = *static_cast<State*>(closure);
    const std::lock_guard lock(self.mutex);
    self.closed = true;
    self.changed.notify_all();
  }
  // The library prints errors where it has no other place to tell them; exchange() and the readers see them all.
  static void ignore(natsConnection* /*nc*/, natsSubscription* /*sub*/, natsStatus /*status*/, void* /*closure*/) {}

  natsStatus subscribe(NatsOwned<natsSubscription>& place, const std::string& subject, natsMsgHandler handler) {
    natsSubscription* made = nullptr;
    natsStatus status = natsConnection_Subscribe(&made, connection.get(), subject.c_str(), handler, this);
    if (status != NATS_OK) return status;
    place.reset(made);
    // Answers may be bodies, many at once; whoever asks bounds them.
    status = natsSubscription_SetPendingLimits(made, -1, -1);
    if (status == NATS_OK) status = natsSubscription_SetOnCompleteCB(made, &State::subscription_over, this);
    if (status != NATS_OK) return status;
    const std::lock_guard lock(mutex);
    ++subscriptions;
    return NATS_OK;
  }
};

NatsConnection::NatsConnection(std::unique_ptr<State> state) : state_(std::move(state)) {}

NatsConnection::~NatsConnection() {
  if (state_->connection == nullptr) return;
  {
    const std::lock_guard lock(state_->mutex);
    state_->closing = true;
  }
  natsConnection_Close(state_->connection.get());
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->closed && state_->subscriptions == 0; });
}

Result<std::unique_ptr<NatsConnection>> NatsConnection::open(const NatsConnectionOptions& options) {
  RETURN_IF_ERROR(check_nats_urls(options.urls));
  auto state = std::make_unique<State>();
  state->shown = shown_nats_urls(options.urls);
  natsOptions* raw = nullptr;
  if (natsOptions_Create(&raw) != NATS_OK) return internal_error("the NATS library cannot be used");
  const NatsOwned<natsOptions> settings(raw);
  const std::vector<std::string> urls = split_nats_urls(options.urls);
  std::vector<const char*> servers;
  servers.reserve(urls.size());
  for (const std::string& url : urls) servers.push_back(url.c_str());
  const natsStatus set[] = {
      natsOptions_SetServers(raw, servers.data(), static_cast<int>(servers.size())),
      natsOptions_SetName(raw, "thaw"),
      natsOptions_SetTimeout(raw, kConnectMax.count()),
      natsOptions_SetMaxReconnect(raw, -1),
      natsOptions_SetReconnectWait(raw, kReconnectWaitMs),
      natsOptions_SetReconnectBufSize(raw, 1),
      natsOptions_SetPingInterval(raw, kPingEveryMs),
      natsOptions_SetMaxPingsOut(raw, 2),
      natsOptions_SetSendAsap(raw, true),
      natsOptions_SetWriteDeadline(raw, kAnswerMax.count()),
      natsOptions_SetErrorHandler(raw, &State::ignore, nullptr),
      natsOptions_SetDisconnectedCB(raw, &State::disconnected, state.get()),
      natsOptions_SetReconnectedCB(raw, &State::reconnected, state.get()),
      natsOptions_SetClosedCB(raw, &State::is_closed, state.get()),
      options.credentials_file.empty()
          ? NATS_OK
          : natsOptions_SetUserCredentialsFromFiles(raw, options.credentials_file.c_str(), nullptr),
  };
  for (const natsStatus status : set) {
    if (status != NATS_OK) return invalid_argument(state->shown + ": " + natsStatus_GetText(status));
  }
  natsConnection* made = nullptr;
  if (const natsStatus status = natsConnection_Connect(&made, raw); status != NATS_OK) {
    const bool refused = status == NATS_CONNECTION_AUTH_FAILED || status == NATS_NOT_PERMITTED;
    return Error{refused ? ErrorKind::forbidden : ErrorKind::unavailable,
                 "the NATS server " + state->shown + ": " + natsStatus_GetText(status)};
  }
  state->connection.reset(made);
  state->closed = false;
  std::unique_ptr<NatsConnection> self(new NatsConnection(std::move(state)));
  natsInbox* inbox = nullptr;
  if (natsInbox_Create(&inbox) != NATS_OK) return self->unavailable("no inbox");
  self->state_->inbox_prefix = inbox;
  natsInbox_Destroy(inbox);
  if (self->state_->subscribe(self->state_->inbox, self->state_->inbox_prefix + ".*", &State::answered) != NATS_OK)
    return self->unavailable("no inbox");
  return self;
}

Error NatsConnection::unavailable(std::string_view what) const {
  return {ErrorKind::unavailable, "the NATS server " + state_->shown + ": " + std::string(what)};
}

Result<std::vector<NatsMessage>> NatsConnection::exchange(std::span<const NatsRequest> requests) {
  if (!connected()) return unavailable("it is away");
  Batch batch;
  batch.answers.resize(requests.size());
  const auto until = std::chrono::steady_clock::now() + kAnswerMax;
  std::vector<std::string> tokens(requests.size());
  std::uint64_t disconnects = 0;
  {
    const std::lock_guard lock(state_->mutex);
    disconnects = state_->disconnects;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      tokens[i] = std::to_string(++state_->last_token);
      state_->waiting[tokens[i]] = {&batch, i};
    }
    batch.missing = requests.size();
  }
  natsStatus status = NATS_OK;
  for (std::size_t i = 0; i < requests.size() && status == NATS_OK; ++i) {
    natsMsg* raw = nullptr;
    const std::string reply = state_->inbox_prefix + "." + tokens[i];
    status = natsMsg_Create(&raw, requests[i].subject.c_str(), reply.c_str(), requests[i].body.data(),
                            static_cast<int>(requests[i].body.size()));
    if (status != NATS_OK) break;
    const NatsMessage message(raw);
    for (const auto& [name, value] : requests[i].fields) {
      if (status == NATS_OK) status = natsMsgHeader_Set(raw, name.c_str(), value.c_str());
    }
    if (status == NATS_OK) status = natsConnection_PublishMsg(state_->connection.get(), raw);
  }
  std::unique_lock lock(state_->mutex);
  if (status == NATS_OK) {
    state_->changed.wait_until(lock, until, [&] { return batch.missing == 0 || state_->disconnects != disconnects; });
  }
  for (const std::string& token : tokens) state_->waiting.erase(token);
  lock.unlock();
  if (status != NATS_OK && batch.missing == requests.size()) return unavailable(natsStatus_GetText(status));
  return std::move(batch.answers);
}

Status NatsConnection::tell(const std::string& subject, std::string_view text) {
  if (!connected()) return unavailable("it is away");
  const natsStatus status =
      natsConnection_Publish(state_->connection.get(), subject.c_str(), text.data(), static_cast<int>(text.size()));
  if (status != NATS_OK) return unavailable(natsStatus_GetText(status));
  return {};
}

Status NatsConnection::listen(const std::string& subject, std::function<void(natsMsg*)> heard) {
  {
    const std::lock_guard lock(state_->heard_mutex);
    state_->heard = std::move(heard);
  }
  const natsStatus status = state_->subscribe(state_->listener, subject, &State::was_heard);
  if (status != NATS_OK) return unavailable(natsStatus_GetText(status));
  return {};
}

void NatsConnection::hush() {
  const std::lock_guard lock(state_->heard_mutex);
  state_->heard = nullptr;
}

bool NatsConnection::connected() const {
  return natsConnection_Status(state_->connection.get()) == NATS_CONN_STATUS_CONNECTED;
}

std::uint64_t NatsConnection::generation() const { return state_->generation; }

std::size_t NatsConnection::payload_bytes_max() const {
  return static_cast<std::size_t>(natsConnection_GetMaxPayload(state_->connection.get()));
}

natsConnection* NatsConnection::get() const { return state_->connection.get(); }

}  // namespace thaw::adapters
