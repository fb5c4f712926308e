// Sockets of a held process.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "base/sys.h"
#include "snapshot/open_descriptor.h"

namespace thaw::snapshot {
namespace {

constexpr std::size_t kQueuedBytesMax = 1 << 20;
constexpr std::size_t kMessagesMax = 4096;
constexpr std::size_t kControlBytes = 8192;  // more than SCM_MAX_FD descriptors and a sender's identity
constexpr int kReceivesNoMore = 1;
constexpr int kShutBothWays = 3;
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
constexpr int kSendBufferLocked = 1;
constexpr int kReceiveBufferLocked = 2;

int option(const Open& open, int level, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  return ::getsockopt(open.copy.get(), level, name, &value, &size) == 0 ? value : -1;
}

// What programs set and the kernel tells. Names of higher levels are asked of the sockets that have them.
constexpr std::pair<int, int> kOptions[] = {
    {SOL_SOCKET, SO_REUSEADDR},
    {SOL_SOCKET, SO_REUSEPORT},
    {SOL_SOCKET, SO_KEEPALIVE},
    {SOL_SOCKET, SO_BROADCAST},
    {SOL_SOCKET, SO_LINGER},
    {SOL_SOCKET, SO_RCVTIMEO},
    {SOL_SOCKET, SO_SNDTIMEO},
    {SOL_SOCKET, SO_RCVLOWAT},
    {SOL_SOCKET, SO_OOBINLINE},
    {SOL_SOCKET, SO_PASSCRED},
    {SOL_SOCKET, SO_PRIORITY},
    {SOL_SOCKET, SO_TIMESTAMP},
    {SOL_SOCKET, SO_ZEROCOPY},
    {IPPROTO_TCP, TCP_NODELAY},
    {IPPROTO_TCP, TCP_KEEPIDLE},
    {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT},
    {IPPROTO_TCP, TCP_USER_TIMEOUT},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {IPPROTO_TCP, TCP_FASTOPEN},
    {IPPROTO_TCP, TCP_CORK},
    {IPPROTO_TCP, TCP_SYNCNT},
    {IPPROTO_TCP, TCP_LINGER2},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT},
    {IPPROTO_TCP, TCP_CONGESTION},
    {IPPROTO_IP, IP_TOS},
    {IPPROTO_IP, IP_TTL},
    {IPPROTO_IP, IP_PKTINFO},
    {IPPROTO_IP, IP_RECVERR},
    {IPPROTO_IP, IP_RECVTOS},
    {IPPROTO_IP, IP_FREEBIND},
    {IPPROTO_IP, IP_MTU_DISCOVER},
    {IPPROTO_IP, IP_MULTICAST_LOOP},
    {IPPROTO_IP, IP_MULTICAST_TTL},
    {IPPROTO_IPV6, IPV6_V6ONLY},
    {IPPROTO_IPV6, IPV6_TCLASS},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {IPPROTO_IPV6, IPV6_RECVERR},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
};
constexpr std::size_t kOptionBytesMax = 64;

bool has_level(const Descriptor& descriptor, int level) {
  if (level == IPPROTO_TCP) return descriptor.mode != AF_UNIX && descriptor.type == SOCK_STREAM;
  if (level == IPPROTO_IP) return descriptor.mode == AF_INET;
  return level == SOL_SOCKET || descriptor.mode == AF_INET6;
}

Bytes option_bytes(int socket, int level, int name) {
  Bytes value(kOptionBytesMax);
  auto size = static_cast<socklen_t>(value.size());
  if (::getsockopt(socket, level, name, value.data(), &size) != 0) size = 0;
  value.resize(size);
  return value;
}

// Options that differ from those of a new socket.
Status keep_options(const Open& open, Descriptor& descriptor) {
  const UniqueFd fresh(
      ::socket(static_cast<int>(descriptor.mode), static_cast<int>(descriptor.type) | SOCK_CLOEXEC, 0));
  if (!fresh.valid()) return sys::errno_error("a socket to compare with");
  const auto keep = [&](int level, int name, Bytes value) {
    descriptor.options.push_back(
        {static_cast<std::uint32_t>(level), static_cast<std::uint32_t>(name), std::move(value)});
  };
  for (const auto& [level, name] : kOptions) {
    if (!has_level(descriptor, level)) continue;
    Bytes value = option_bytes(open.copy.get(), level, name);
    if (!value.empty() && value != option_bytes(fresh.get(), level, name)) keep(level, name, std::move(value));
  }
  // Buffers whose size the program has chosen. The kernel keeps twice of what it is told (socket(7)).
  const int locked = option(open, SOL_SOCKET, SO_BUF_LOCK);
  for (const auto& [bit, name] :
       {std::pair(kSendBufferLocked, SO_SNDBUF), std::pair(kReceiveBufferLocked, SO_RCVBUF)}) {
    if (locked < 0 || (locked & bit) == 0) continue;
    const int half = option(open, SOL_SOCKET, name) / 2;
    const auto* bytes = reinterpret_cast<const std::byte*>(&half);
    keep(SOL_SOCKET, name, Bytes(bytes, bytes + sizeof(half)));
  }
  // With no room for them the kernel tells how many instructions there are (SO_GET_FILTER).
  socklen_t instructions = 0;
  if (::getsockopt(open.copy.get(), SOL_SOCKET, SO_GET_FILTER, nullptr, &instructions) != 0 || instructions > 0)
    return refuse(open, "a socket with a BPF filter: attach it after the snapshot");
  return {};
}

using Address = int (*)(int, sockaddr*, socklen_t*);

// Empty when there is none.
Bytes address_of(const Open& open, Address ask) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (ask(open.copy.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  const auto* bytes = reinterpret_cast<const std::byte*>(&address);
  return {bytes, bytes + std::min<std::size_t>(size, sizeof(address))};
}

std::uint16_t port_of(const Bytes& address) {
  std::uint16_t port = 0;
  if (address.size() >= 4) std::memcpy(&port, address.data() + 2, sizeof(port));
  return ntohs(port);
}

bool is_readable(const Open& open) {
  pollfd ready{open.copy.get(), POLLIN, 0};
  return ::poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN) != 0;
}

// Whether somebody in the network of the process has joined a group (/proc/net/igmp): the kernel does not say who. All
// hosts belong to 224.0.0.1.
bool has_joined_groups(pid_t pid) {
  const auto groups = read_proc(pid, "net/igmp");
  if (!groups.ok()) return false;
  std::istringstream lines(*groups);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("\t\t") && !line.starts_with("\t\t\t\t010000E0")) return true;
  }
  return false;
}

struct Peeked {
  ssize_t size = -1;  // -1: nothing waits
  bool from_named = false;
  bool has_descriptors = false;
};

Peeked peek(const Open& open, std::span<std::byte> into, int flags) {
  alignas(cmsghdr) char control[kControlBytes];
  sockaddr_un sender{};
  iovec vector{into.data(), into.size()};
  msghdr message{};
  message.msg_name = &sender;
  message.msg_namelen = sizeof(sender);
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  Peeked peeked;
  peeked.size = ::recvmsg(open.copy.get(), &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);
  if (peeked.size < 0) return peeked;
  peeked.from_named = message.msg_namelen > sizeof(sa_family_t);
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    peeked.has_descriptors = true;
    for (std::size_t at = CMSG_LEN(0); at + sizeof(int) <= part->cmsg_len; at += sizeof(int)) {
      int descriptor = -1;
      std::memcpy(&descriptor, reinterpret_cast<const char*>(part) + at, sizeof(descriptor));
      ::close(descriptor);
    }
  }
  return peeked;
}

// What waits in the host's end of the connection (/proc/net/tcp, which shows it because that end is in the same network
// namespace). The process is held: what it has sent is all there is.
std::uint64_t unread_by_host(pid_t pid, const Descriptor& descriptor) {
  const auto table = read_proc(pid, "net/tcp");
  if (!table.ok()) return 0;
  char ends[64];
  std::snprintf(ends, sizeof(ends), " 0100007F:%04X 0100007F:%04X ", unsigned{port_of(descriptor.peer)},
                unsigned{port_of(descriptor.address)});
  const std::size_t at = table->find(ends);
  if (at == std::string::npos) return 0;
  // Behind the ends: the state, then what waits to be sent and to be read, in hex.
  const std::size_t colon = table->find(':', at + std::strlen(ends));
  return colon == std::string::npos ? 0 : number(std::string_view(*table).substr(colon + 1, 8), 16);
}

// The host reads at once; it gets a moment for it.
bool host_has_read_all(pid_t pid, const Descriptor& descriptor) {
  constexpr int kLooks = 20;
  constexpr timespec kPause{0, 5'000'000};
  for (int look = 0; look < kLooks; ++look) {
    if (unread_by_host(pid, descriptor) == 0) return true;
    ::nanosleep(&kPause, nullptr);
  }
  return false;
}

Error descriptors_wait(const Open& open) {
  return refuse(open, "a unix socket in which descriptors wait (SCM_RIGHTS): receive them before the snapshot");
}

Status read_stream(const Open& open, Descriptor& descriptor) {
  int waiting = 0;
  if (::ioctl(open.copy.get(), FIONREAD, &waiting) != 0) return sys::errno_error("FIONREAD");
  if (waiting == 0) return {};
  if (static_cast<std::size_t>(waiting) > kQueuedBytesMax) return refuse(open, "a socket with too many bytes in it");
  descriptor.queued.resize(static_cast<std::size_t>(waiting));
  const Peeked peeked = peek(open, descriptor.queued, MSG_WAITALL);
  if (peeked.has_descriptors) return descriptors_wait(open);
  // It stops before bytes that carry descriptors.
  if (peeked.size != waiting) return refuse(open, "a unix socket whose bytes cannot be copied");
  return {};
}

// Peeks at message after message (SO_PEEK_OFF, socket(7)); the offset that the program had is put back.
Status read_messages(const Open& open, Descriptor& descriptor) {
  if (!is_readable(open)) return {};
  const int before = option(open, SOL_SOCKET, SO_PEEK_OFF);
  const int start = 0;
  if (::setsockopt(open.copy.get(), SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start)) != 0)
    return refuse(open, "a unix socket whose messages cannot be copied");
  Status outcome;
  std::vector<std::byte> buffer(kQueuedBytesMax);
  std::size_t bytes = 0;
  while (outcome.ok()) {
    const Peeked peeked = peek(open, buffer, MSG_TRUNC);
    // The end of a sequence of packets reads as one without bytes.
    const bool ended = peeked.size == 0 && (descriptor.shutdown & kReceivesNoMore) != 0;
    if (peeked.size < 0 || ended) break;
    bytes += static_cast<std::size_t>(peeked.size);
    if (peeked.has_descriptors) outcome = descriptors_wait(open);
    if (peeked.from_named)
      outcome =
          refuse(open, "a unix socket in which a message of a named sender waits: receive it before the snapshot");
    if (bytes > kQueuedBytesMax || descriptor.messages.size() == kMessagesMax)
      outcome = refuse(open, "a socket with too many messages in it");
    if (outcome.ok()) descriptor.messages.emplace_back(buffer.begin(), buffer.begin() + peeked.size);
  }
  ::setsockopt(open.copy.get(), SOL_SOCKET, SO_PEEK_OFF, &before, sizeof(before));
  const bool only_ended = (descriptor.shutdown & kReceivesNoMore) != 0;
  if (outcome.ok() && descriptor.messages.empty() && !only_ended)
    return refuse(open, "a unix socket whose messages cannot be copied: receive them before the snapshot");
  return outcome;
}

}  // namespace

Status SocketReader::read_datagrams(const Open& open, bool connected, Descriptor& descriptor) const {
  if (!connected && port_of(descriptor.address) == 0) {
    descriptor.kind = DescriptorKind::tcp_fresh;
    descriptor.address.clear();
    return {};
  }
  if (descriptor.type != SOCK_DGRAM) return refuse(open, "a raw socket in use: close it in the before-snapshot hook");
  if (is_readable(open))
    return refuse(open, "a datagram socket in which something waits: receive it before the snapshot");
  if (has_joined_groups(request_.pid))
    return refuse(open, "a datagram socket that may have joined a multicast group: join it after the snapshot");
  descriptor.kind = DescriptorKind::udp;
  return {};
}

bool SocketReader::leads_to_host(const Descriptor& descriptor) const {
  if (descriptor.mode != AF_INET || descriptor.peer.size() != sizeof(sockaddr_in)) return false;
  sockaddr_in peer{};
  std::memcpy(&peer, descriptor.peer.data(), sizeof(peer));
  const std::uint16_t port = ntohs(peer.sin_port);
  if (port == 0 || peer.sin_addr.s_addr != htonl(INADDR_LOOPBACK)) return false;
  return port == request_.host_port || port == request_.calls_port;
}

Status SocketReader::read_host_link(const Open& open, Descriptor& descriptor) const {
  tcp_info about{};
  socklen_t size = sizeof(about);
  if (::getsockopt(open.copy.get(), IPPROTO_TCP, TCP_INFO, &about, &size) != 0) return sys::errno_error("TCP_INFO");
  const bool to_calls = port_of(descriptor.peer) == request_.calls_port;
  const std::string which = "descriptor " + std::to_string(open.number) + " is a connection to " +
                            (to_calls ? "THAW_URL" : "the Runtime API") + " with ";
  int unread = 0;
  if (::ioctl(open.copy.get(), FIONREAD, &unread) != 0) return sys::errno_error("FIONREAD");
  if (unread > 0) return Error{ErrorKind::unavailable, which + "an answer that nobody has read"};
  // What has been shut at one end is of no use: it comes back as a connection that has ended.
  if (about.tcpi_state != TCP_ESTABLISHED) {
    descriptor.kind = DescriptorKind::tcp_reset;
    descriptor.address.clear();
    descriptor.peer.clear();
    return {};
  }
  if (!host_has_read_all(request_.pid, descriptor))
    return Error{ErrorKind::unavailable, which + "a request that was just being sent"};
  descriptor.kind = DescriptorKind::host_link;
  if (to_calls) return {};
  const auto call = request_.host_calls.find(port_of(descriptor.address));
  if (call == request_.host_calls.end()) return {};
  const auto* bytes = reinterpret_cast<const std::byte*>(call->second.data());
  descriptor.queued.assign(bytes, bytes + call->second.size());
  return {};
}

Status SocketReader::read_internet(const Open& open, Descriptor& descriptor) const {
  RETURN_IF_ERROR(keep_options(open, descriptor));
  descriptor.address = address_of(open, ::getsockname);
  descriptor.peer = address_of(open, ::getpeername);
  const bool connected = !descriptor.peer.empty();
  if (descriptor.type != SOCK_STREAM) return read_datagrams(open, connected, descriptor);
  if (option(open, SOL_SOCKET, SO_ACCEPTCONN) == 1) {
    tcp_info about{};
    socklen_t size = sizeof(about);
    if (::getsockopt(open.copy.get(), IPPROTO_TCP, TCP_INFO, &about, &size) != 0) return sys::errno_error("TCP_INFO");
    if (about.tcpi_unacked > 0 && request_.strict_connections)
      return refuse(open,
                    "a listener to which a TCP connection has come, and the manifest wants none open: accept and "
                    "close it before the snapshot");
    descriptor.kind = DescriptorKind::tcp_listener;
    descriptor.count = about.tcpi_sacked;  // of a listener: the limit of its queue
    return {};
  }
  if (connected && leads_to_host(descriptor)) return read_host_link(open, descriptor);
  // TCP_CLOSE with a local port was connected once, too.
  const bool fresh = !connected && port_of(descriptor.address) == 0;
  descriptor.address.clear();
  descriptor.peer.clear();
  if (!fresh && request_.strict_connections)
    return refuse(open, "an open TCP connection, and the manifest wants none: close it in the before-snapshot hook");
  descriptor.kind = fresh ? DescriptorKind::tcp_fresh : DescriptorKind::tcp_reset;
  return {};
}

// The name that a unix socket is bound to, and whether a file system still has it.
Status SocketReader::read_name(const Open& open, const UnixSocket& socket, Descriptor& descriptor) const {
  descriptor.address = address_of(open, ::getsockname);
  constexpr std::size_t kFamilyBytes = sizeof(sa_family_t);
  if (descriptor.address.size() <= kFamilyBytes) {
    descriptor.address.clear();
    return {};
  }
  if (descriptor.address[kFamilyBytes] == std::byte{0}) return {};  // an abstract name
  const auto* text = reinterpret_cast<const char*>(descriptor.address.data()) + kFamilyBytes;
  const std::string path(text, ::strnlen(text, descriptor.address.size() - kFamilyBytes));
  if (!is_private(request_.private_folders, path))
    return refuse(open, "a unix socket named " + path + ", which is not in " +
                            (request_.private_folders.empty() ? "a folder of its own" : request_.private_folders[0]) +
                            ": bind it there, or close it before the snapshot");
  struct stat node {};
  descriptor.has_node = ::lstat((proc_path(request_.pid, "root") + path).c_str(), &node) == 0 &&
                        S_ISSOCK(node.st_mode) && static_cast<std::uint32_t>(node.st_ino) == socket.node_inode;
  return {};
}

Status SocketReader::read_unix(const Open& open, Descriptor& descriptor) {
  if (!asked_) {
    ASSIGN_OR_RETURN(unix_, unix_sockets(request_.pid));
    asked_ = true;
  }
  const auto found = unix_.find(open.status.st_ino);
  if (found == unix_.end())
    return refuse(open, "a unix socket of another network namespace: close it before the snapshot");
  const UnixSocket& socket = found->second;
  RETURN_IF_ERROR(keep_options(open, descriptor));
  RETURN_IF_ERROR(read_name(open, socket, descriptor));
  if (option(open, SOL_SOCKET, SO_ACCEPTCONN) == 1) {
    if (socket.waiting > 0)
      return refuse(open, "a unix socket to which a connection has come: accept it before the snapshot");
    descriptor.kind = DescriptorKind::unix_listener;
    descriptor.count = socket.backlog;
    return {};
  }
  descriptor.shutdown = socket.shutdown & kShutBothWays;
  const bool keeps_borders = descriptor.type != SOCK_STREAM;
  if (!socket.has_peer) {
    descriptor.kind = DescriptorKind::unix_fresh;
    if (!keeps_borders) return {};
    RETURN_IF_ERROR(read_messages(open, descriptor));
    const bool abstract = descriptor.address.size() > 2 && descriptor.address[2] == std::byte{0};
    if (!descriptor.messages.empty() && !abstract && !descriptor.has_node)
      return refuse(open, "a unix socket without a name in which messages wait: receive them before the snapshot");
    return {};
  }
  descriptor.kind = DescriptorKind::socketpair;
  // Whoever neither sends nor receives any more need not know who the other was.
  descriptor.peer_gone = socket.peer == 0 || descriptor.shutdown == kShutBothWays;
  descriptor.pair =
      descriptor.peer_gone ? open.status.st_ino : std::min<std::uint64_t>(open.status.st_ino, socket.peer);
  if (!descriptor.address.empty() && !descriptor.peer_gone)
    return refuse(open, "a unix socket that is connected by a name: close it in the before-snapshot hook");
  descriptor.address.clear();
  descriptor.has_node = false;
  return keeps_borders ? read_messages(open, descriptor) : read_stream(open, descriptor);
}

Status SocketReader::read(const Open& open, Descriptor& descriptor) {
  descriptor.mode = static_cast<std::uint32_t>(option(open, SOL_SOCKET, SO_DOMAIN));
  descriptor.type = static_cast<std::uint32_t>(option(open, SOL_SOCKET, SO_TYPE));
  if (descriptor.mode == AF_INET || descriptor.mode == AF_INET6) return read_internet(open, descriptor);
  if (descriptor.mode == AF_UNIX) return read_unix(open, descriptor);
  return refuse(open, "a socket of family " + std::to_string(descriptor.mode));
}

Status SocketReader::check_pairs(const Image& image) {
  std::map<std::uint64_t, std::size_t> ends;
  for (const Descriptor& descriptor : image.descriptors) {
    if (descriptor.kind == DescriptorKind::socketpair) ++ends[descriptor.pair];
  }
  for (const Descriptor& descriptor : image.descriptors) {
    if (descriptor.kind != DescriptorKind::socketpair || descriptor.peer_gone || ends[descriptor.pair] == 2) continue;
    return Error{ErrorKind::unsupported, "descriptor " + std::to_string(descriptor.numbers.front()) +
                                             " is a unix socket whose peer is in no descriptor of the function: close "
                                             "it in the before-snapshot hook"};
  }
  return {};
}

}  // namespace thaw::snapshot
