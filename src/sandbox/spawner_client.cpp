#include "sandbox/spawner_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "base/log.h"
#include "sandbox/controls.h"
#include "sandbox/message_socket.h"
#include "sandbox/protocol.h"

namespace thaw::sandbox {

using StartDone = std::function<void(Result<Started>)>;
using SocketsDone = std::function<void(Result<std::vector<UniqueFd>>)>;
using FreezeDone = std::function<void(Result<Frozen>)>;

struct SpawnerClient::State {
  UniqueFd socket;  // sends are atomic (SOCK_SEQPACKET): no lock
  pid_t pid = -1;
  std::function<void(ExitInfo)> on_exit;
  std::function<void()> on_spawner_lost;
  std::atomic<bool> closing = false;

  std::mutex mutex;  // guards the rest; no callback and no I/O under it
  std::uint64_t serial_next = 1;
  bool lost = false;
  std::unordered_map<std::uint64_t, StartDone> starts;
  std::unordered_map<std::uint64_t, SocketsDone> sockets;
  std::unordered_map<std::uint64_t, FreezeDone> freezes;

  std::thread reader;

  void read_replies();
  void handle(const protocol::Reply& reply, std::vector<UniqueFd> fds);
  void lose();
  // Whether an error of send() is all that the request gets. When the other end is gone, the reader finds out too, and
  // answers everything that is pending: the word of the loss comes first.
  static bool is_refusal(const Error& error) { return error.kind != ErrorKind::unavailable; }
  template <class Done>
  Done take(std::unordered_map<std::uint64_t, Done>& pending, std::uint64_t serial);
  template <class Done>
  Result<std::uint64_t> add(std::unordered_map<std::uint64_t, Done>& pending, Done done);
  Status send(std::string_view bytes, std::span<const int> fds) const;
};

namespace {

Error gone() { return {ErrorKind::unavailable, "the process that starts environments is gone"}; }

}  // namespace

SpawnerClient::SpawnerClient(LaunchedSpawner launched) : state_(std::make_unique<State>()) {
  state_->socket = std::move(launched.socket);
  state_->pid = launched.pid;
  state_->reader = std::thread([state = state_.get()] { state->read_replies(); });
}

SpawnerClient::~SpawnerClient() {
  (void)shut_down(std::chrono::milliseconds(0));
  if (state_->reader.joinable()) state_->reader.join();
}

void SpawnerClient::set_on_exit(std::function<void(ExitInfo)> on_exit) {
  const std::lock_guard lock(state_->mutex);
  state_->on_exit = std::move(on_exit);
}

void SpawnerClient::set_on_spawner_lost(std::function<void()> on_spawner_lost) {
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->lost) {
      state_->on_spawner_lost = std::move(on_spawner_lost);
      return;
    }
  }
  on_spawner_lost();
}

template <class Done>
Result<std::uint64_t> SpawnerClient::State::add(std::unordered_map<std::uint64_t, Done>& pending, Done done) {
  const std::lock_guard lock(mutex);
  if (lost || closing) return gone();
  if (starts.size() + sockets.size() + freezes.size() >= kPendingMax) {
    return Error{ErrorKind::overloaded, "too many environments are starting"};
  }
  const std::uint64_t serial = serial_next++;
  pending.emplace(serial, std::move(done));
  return serial;
}

template <class Done>
Done SpawnerClient::State::take(std::unordered_map<std::uint64_t, Done>& pending, std::uint64_t serial) {
  const std::lock_guard lock(mutex);
  const auto found = pending.find(serial);
  if (found == pending.end()) return {};
  Done done = std::move(found->second);
  pending.erase(found);
  return done;
}

Status SpawnerClient::State::send(std::string_view bytes, std::span<const int> fds) const {
  // The spawner's loop never waits, so a full socket is empty again within a start or two.
  return send_message(socket, bytes, fds, Wait::yes);
}

void SpawnerClient::start(EnvironmentSpec spec, StartDone done) {
  // Checked before anything is pending: the message needs its serial, so it is encoded twice only on this error.
  const StartDone copy = done;
  const auto serial = state_->add(state_->starts, std::move(done));
  if (!serial.ok()) return copy(serial.error());
  const auto refuse = [&](const Error& error) {
    if (const StartDone mine = state_->take(state_->starts, *serial)) mine(error);
  };
  const auto bytes = protocol::encode_start(*serial, spec);
  if (!bytes.ok()) return refuse(bytes.error());
  if (!spec.package.valid() || !spec.output.valid()) return refuse(invalid_argument("a start needs both descriptors"));
  std::vector<int> fds{spec.package.get(), spec.output.get()};
  if (spec.model.valid()) fds.push_back(spec.model.get());
  if (spec.runtime.valid()) fds.push_back(spec.runtime.get());
  if (spec.layers.valid()) fds.push_back(spec.layers.get());
  if (spec.image.valid()) fds.insert(fds.end(), {spec.image.get(), spec.working_set.get()});
  if (const Status sent = state_->send(*bytes, fds); !sent.ok() && State::is_refusal(sent.error()))
    refuse(sent.error());
}

void SpawnerClient::make_sockets(std::uint64_t id, std::uint32_t count, SocketsDone done) {
  const SocketsDone copy = done;
  if (count == 0 || count > kSocketsPerRequestMax) return copy(invalid_argument("number of sockets"));
  const auto serial = state_->add(state_->sockets, std::move(done));
  if (!serial.ok()) return copy(serial.error());
  const Status sent = state_->send(protocol::encode_make_sockets(*serial, id, count), {});
  if (sent.ok() || !State::is_refusal(sent.error())) return;
  if (const SocketsDone mine = state_->take(state_->sockets, *serial)) mine(sent.error());
}

void SpawnerClient::freeze(FreezeSpec spec, FreezeDone done) {
  const FreezeDone copy = done;
  if (!spec.image.valid()) return copy(invalid_argument("a freeze needs a file"));
  const auto serial = state_->add(state_->freezes, std::move(done));
  if (!serial.ok()) return copy(serial.error());
  const int fds[] = {spec.image.get()};
  const auto request = protocol::encode_freeze(*serial, spec);
  const Status sent = request.ok() ? state_->send(*request, fds) : Status(request.error());
  if (sent.ok() || !State::is_refusal(sent.error())) return;
  if (const FreezeDone mine = state_->take(state_->freezes, *serial)) mine(sent.error());
}

void SpawnerClient::destroy(std::uint64_t id) {
  // When the spawner is gone the environment is, too.
  (void)state_->send(protocol::encode_destroy(id), {});
}

void SpawnerClient::terminate(std::uint64_t id) { (void)state_->send(protocol::encode_terminate(id), {}); }

void SpawnerClient::State::read_replies() {
  std::vector<std::byte> buffer(protocol::kReplyBytesMax + 1);
  for (;;) {
    auto message = receive_message(socket, buffer, Wait::yes);
    if (!message.ok()) log::error("spawner_connection_failed error=\"{}\"", message.error().message);
    if (!message.ok() || message->size == 0) return lose();
    const auto reply = protocol::decode_reply({buffer.data(), message->size}, message->fds.size());
    if (!reply.ok()) {
      log::error("spawner_reply_refused error=\"{}\"", reply.error().message);
      continue;
    }
    handle(*reply, std::move(message->fds));
  }
}

void SpawnerClient::State::handle(const protocol::Reply& reply, std::vector<UniqueFd> fds) {
  const protocol::StartedBody& body = reply.started;
  if (reply.type == protocol::MessageType::exited) {
    std::function<void(ExitInfo)> call;
    {
      const std::lock_guard lock(mutex);
      call = on_exit;
    }
    if (call) call({reply.id, static_cast<ExitReason>(reply.exited.reason), reply.exited.code});
  } else if (reply.type == protocol::MessageType::sockets_made) {
    const SocketsDone done = take(sockets, reply.serial);
    if (!done) return;
    if (body.outcome.status != 0) return done(protocol::error_of(body.outcome));
    done(std::move(fds));
  } else if (reply.type == protocol::MessageType::frozen) {
    const FreezeDone done = take(freezes, reply.serial);
    if (!done) return;
    if (body.outcome.status != 0) return done(protocol::error_of(body.outcome));
    done(Frozen{.file_bytes = reply.frozen.file_bytes,
                .pages_bytes = reply.frozen.pages_bytes,
                .held = std::chrono::microseconds(reply.frozen.held_us),
                .threads = reply.frozen.threads});
  } else if (reply.type == protocol::MessageType::started) {
    const StartDone done = take(starts, reply.serial);
    if (!done) return;
    if (body.outcome.status != 0) return done(protocol::error_of(body.outcome));
    const auto take_last = [&fds](std::uint16_t there) {
      if (there == 0) return UniqueFd();
      UniqueFd last = std::move(fds.back());
      fds.pop_back();
      return last;
    };
    UniqueFd calls_listener = take_last(body.calls_listener);
    UniqueFd listener = take_last(body.listener);
    const auto sockets_begin = fds.end() - body.sockets;
    Started started{.took = std::chrono::microseconds(body.took_us)};
    started.sockets.assign(std::make_move_iterator(sockets_begin), std::make_move_iterator(fds.end()));
    fds.erase(sockets_begin, fds.end());
    started.listener = std::move(listener);
    started.calls_listener = std::move(calls_listener);
    started.controls = make_controls(body, std::move(fds));
    done(std::move(started));
  }
}

void SpawnerClient::State::lose() {
  std::unordered_map<std::uint64_t, StartDone> lost_starts;
  std::unordered_map<std::uint64_t, SocketsDone> lost_sockets;
  std::unordered_map<std::uint64_t, FreezeDone> lost_freezes;
  std::function<void()> call;
  {
    const std::lock_guard lock(mutex);
    lost = true;
    lost_starts.swap(starts);
    lost_sockets.swap(sockets);
    lost_freezes.swap(freezes);
    if (!closing) call = on_spawner_lost;
  }
  // First, so that whoever gets an error knows that trying again is of no use.
  if (call) call();
  for (const auto& [serial, done] : lost_starts) done(gone());
  for (const auto& [serial, done] : lost_sockets) done(gone());
  for (const auto& [serial, done] : lost_freezes) done(gone());
}

Status SpawnerClient::shut_down(std::chrono::milliseconds wait_max) {
  state_->closing = true;
  ::shutdown(state_->socket.get(), SHUT_RDWR);
  const auto ends = std::chrono::steady_clock::now() + wait_max;
  while (state_->pid > 0) {
    const pid_t ended = ::waitpid(state_->pid, nullptr, WNOHANG);
    if (ended != 0) {
      state_->pid = -1;
      break;
    }
    if (std::chrono::steady_clock::now() >= ends) {
      return Error{ErrorKind::timeout, "the spawner is still clearing up"};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {};
}

}  // namespace thaw::sandbox
