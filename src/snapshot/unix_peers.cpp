#include "snapshot/unix_peers.h"

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

void take(const nlmsghdr& message, std::map<std::uint64_t, std::uint64_t>& peers) {
  const auto* about = reinterpret_cast<const unix_diag_msg*>(reinterpret_cast<const char*>(&message) + NLMSG_HDRLEN);
  auto left = static_cast<unsigned>(message.nlmsg_len - NLMSG_LENGTH(sizeof(*about)));
  const auto* at = reinterpret_cast<const char*>(about + 1);
  // RTA_NEXT by hand: the macro casts const away.
  while (RTA_OK(reinterpret_cast<const rtattr*>(at), left)) {
    const auto* attribute = reinterpret_cast<const rtattr*>(at);
    if (attribute->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(attribute) >= sizeof(std::uint32_t)) {
      std::uint32_t peer = 0;
      std::memcpy(&peer, at + RTA_LENGTH(0), sizeof(peer));
      peers[about->udiag_ino] = peer;
    }
    const unsigned step = RTA_ALIGN(attribute->rta_len);
    if (step > left) return;
    at += step;
    left -= step;
  }
}

}  // namespace

Result<std::map<std::uint64_t, std::uint64_t>> unix_peers(pid_t pid) {
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
  question.request.udiag_show = UDIAG_SHOW_PEER;
  if (::send(socket.get(), &question, sizeof(question), 0) != sizeof(question)) return sys::errno_error("sock_diag");
  std::map<std::uint64_t, std::uint64_t> peers;
  std::vector<char> buffer(kReplyBytes);
  for (;;) {
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got <= 0) return sys::errno_error("sock_diag");
    auto left = static_cast<unsigned>(got);
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data()); NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type == NLMSG_DONE) return peers;
      if (message->nlmsg_type == NLMSG_ERROR)
        return Error{ErrorKind::unsupported, "this kernel does not tell the peers of unix sockets (CONFIG_UNIX_DIAG)"};
      take(*message, peers);
    }
  }
}

}  // namespace thaw::snapshot
