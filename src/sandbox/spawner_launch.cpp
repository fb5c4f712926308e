#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "base/sys.h"
#include "sandbox/message_socket.h"
#include "sandbox/protocol.h"
#include "sandbox/spawner_client.h"

namespace thaw::sandbox {
namespace {

constexpr int kReadyWaitMs = 20'000;
// Room for a burst of starts, each up to protocol::kRequestBytesMax.
constexpr int kSocketBufferBytes = 8 << 20;

// Only async-signal-safe calls: a sanitizer or a library may have made threads.
[[noreturn]] void execute(const std::vector<char*>& arguments, int socket) {
  ::setsid();
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::fcntl(socket, F_SETFD, 0);
  ::execv(arguments.front(), arguments.data());
  ::_exit(127);
}

Status wait_until_ready(const UniqueFd& socket) {
  pollfd watched{.fd = socket.get(), .events = POLLIN};
  const int ready = ::poll(&watched, 1, kReadyWaitMs);
  if (ready == 0) return Error{ErrorKind::unavailable, "the spawner was not ready in time"};
  std::vector<std::byte> buffer(protocol::kReplyBytesMax + 1);
  ASSIGN_OR_RETURN(const Message message, receive_message(socket, buffer, Wait::no));
  if (message.size == 0) return Error{ErrorKind::unavailable, "the spawner ended at its start; see the log"};
  ASSIGN_OR_RETURN(const protocol::Reply reply, protocol::decode_reply({buffer.data(), message.size}, 0));
  if (reply.type != protocol::MessageType::ready) return Error{ErrorKind::corrupt, "the spawner did not say ready"};
  if (reply.started.outcome.status != 0) return protocol::error_of(reply.started.outcome);
  return {};
}

}  // namespace

Result<LaunchedSpawner> launch_spawner(const SpawnerOptions& options) {
  ASSIGN_OR_RETURN(SocketPair sockets, make_message_sockets());
  for (const UniqueFd* end : {&sockets.one, &sockets.other}) {
    for (const int buffer : {SO_SNDBUFFORCE, SO_RCVBUFFORCE}) {
      ::setsockopt(end->get(), SOL_SOCKET, buffer, &kSocketBufferBytes, sizeof(kSocketBufferBytes));
    }
  }
  // The spawner's loop never waits, so this only bounds the wait for one that is stopped.
  const timeval send_max{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(sockets.one.get(), SOL_SOCKET, SO_SNDTIMEO, &send_max, sizeof(send_max));
  const std::vector<std::string> texts = to_arguments(options, sockets.other.get());
  std::vector<char*> arguments;
  for (const std::string& text : texts) arguments.push_back(const_cast<char*>(text.c_str()));
  arguments.push_back(nullptr);

  const pid_t pid = ::fork();
  if (pid < 0) return sys::errno_error("fork");
  if (pid == 0) execute(arguments, sockets.other.get());
  sockets.other.reset();
  if (const Status ready = wait_until_ready(sockets.one); !ready.ok()) {
    sockets.one.reset();
    ::waitpid(pid, nullptr, 0);
    return ready.error();
  }
  return LaunchedSpawner{.socket = std::move(sockets.one), .pid = pid};
}

}  // namespace thaw::sandbox
