#include "sandbox/message_socket.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/sys.h"

namespace thaw::sandbox {

Result<SocketPair> make_message_sockets() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return sys::errno_error("socketpair");
  return SocketPair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Status send_message(const UniqueFd& socket, std::string_view bytes, std::span<const int> fds, Wait wait) {
  if (fds.size() > kMessageDescriptorsMax) return internal_error("too many descriptors in a message");
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMessageDescriptorsMax)] = {};
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  const int flags = MSG_NOSIGNAL | (wait == Wait::no ? MSG_DONTWAIT : 0);
  for (;;) {
    if (::sendmsg(socket.get(), &message, flags) >= 0) return {};
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return Error{ErrorKind::overloaded, "the socket is full"};
    if (errno == EPIPE || errno == ECONNRESET) return Error{ErrorKind::unavailable, "the other end is gone"};
    return sys::errno_error("sendmsg");
  }
}

Result<Message> receive_message(const UniqueFd& socket, std::span<std::byte> buffer, Wait wait) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMessageDescriptorsMax)];
  iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const int flags = MSG_CMSG_CLOEXEC | (wait == Wait::no ? MSG_DONTWAIT : 0);
  ssize_t size;
  do {
    size = ::recvmsg(socket.get(), &message, flags);
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    if (errno == EAGAIN) return Error{ErrorKind::overloaded, "no message"};
    if (errno == ECONNRESET) return Message{};
    return sys::errno_error("recvmsg");
  }

  Message result{.size = static_cast<std::size_t>(size)};
  for (cmsghdr* part_of = CMSG_FIRSTHDR(&message); part_of != nullptr; part_of = CMSG_NXTHDR(&message, part_of)) {
    if (part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part_of->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part_of) + i * sizeof(int), sizeof(int));
      result.fds.emplace_back(fd);
    }
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return Error{ErrorKind::too_large, "message too large"};
  return result;
}

}  // namespace thaw::sandbox
