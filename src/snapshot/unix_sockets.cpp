#include "snapshot/unix_sockets.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/sys.h"
#include "snapshot/proc_files.h"

namespace thaw::snapshot {
namespace {

constexpr std::size_t kReplyBytes = 64 * 1024;

Result<UniqueFd> diagnostics_socket_of(pid_t pid) {
  ASSIGN_OR_RETURN(const UniqueFd own, sys::open("/proc/thread-self/ns/net", O_RDONLY));
  ASSIGN_OR_RETURN(const UniqueFd its, sys::open(proc_path(pid, "ns/net"), O_RDONLY));
  if (::setns(its.get(), CLONE_NEWNET) != 0) return sys::errno_error("setns");
  UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  const Error failed = sys::errno_error("sock_diag");
  if (::setns(own.get(), CLONE_NEWNET) != 0) std::abort();  // in another's network every later step would be wrong
  if (!socket.valid()) return failed;
  return socket;
}

template <class T>
T payload(const rtattr* attribute) {
  T value{};
  if (RTA_PAYLOAD(attribute) >= sizeof(value))
    std::memcpy(&value, reinterpret_cast<const char*>(attribute) + RTA_LENGTH(0), sizeof(value));
  return value;
}

void take(const nlmsghdr& message, std::map<std::uint64_t, UnixSocket>& sockets) {
  const auto* about = reinterpret_cast<const unix_diag_msg*>(reinterpret_cast<const char*>(&message) + NLMSG_HDRLEN);
  auto left = static_cast<unsigned>(message.nlmsg_len - NLMSG_LENGTH(sizeof(*about)));
  const auto* at = reinterpret_cast<const char*>(about + 1);
  UnixSocket& socket = sockets[about->udiag_ino];
  // RTA_NEXT by hand: the macro casts const away.
  while (RTA_OK(reinterpret_cast<const rtattr*>(at), left)) {
    const auto* attribute = reinterpret_cast<const rtattr*>(at);
    if (attribute->rta_type == UNIX_DIAG_PEER) {
      socket.has_peer = true;
      socket.peer = payload<std::uint32_t>(attribute);
    } else if (attribute->rta_type == UNIX_DIAG_SHUTDOWN) {
      socket.shutdown = payload<std::uint8_t>(attribute);
    } else if (attribute->rta_type == UNIX_DIAG_RQLEN) {
      const auto queues = payload<unix_diag_rqlen>(attribute);
      socket.waiting = queues.udiag_rqueue;
      socket.backlog = queues.udiag_wqueue;
    } else if (attribute->rta_type == UNIX_DIAG_VFS) {
      socket.node_inode = payload<unix_diag_vfs>(attribute).udiag_vfs_ino;
    }
    const unsigned step = RTA_ALIGN(attribute->rta_len);
    if (step > left) return;
    at += step;
    left -= step;
  }
}

}  // namespace

Result<std::map<std::uint64_t, UnixSocket>> unix_sockets(pid_t pid) {
  ASSIGN_OR_RETURN(const UniqueFd socket, diagnostics_socket_of(pid));
  struct {
    nlmsghdr header;
    unix_diag_req request;
  } question{};
  question.header.nlmsg_len = sizeof(question);
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  question.request.sdiag_family = AF_UNIX;
  question.request.udiag_states = ~0U;
  question.request.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_VFS;
  if (::send(socket.get(), &question, sizeof(question), 0) != sizeof(question)) return sys::errno_error("sock_diag");
  std::map<std::uint64_t, UnixSocket> sockets;
  std::vector<char> buffer(kReplyBytes);
  for (;;) {
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got <= 0) return sys::errno_error("sock_diag");
    auto left = static_cast<unsigned>(got);
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data()); NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type == NLMSG_DONE) return sockets;
      if (message->nlmsg_type == NLMSG_ERROR)
        return Error{ErrorKind::unsupported, "this kernel does not tell of unix sockets (CONFIG_UNIX_DIAG)"};
      take(*message, sockets);
    }
  }
}

}  // namespace thaw::snapshot
