// Sockets, made anew.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/sys.h"
#include "snapshot/restore_parts.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint32_t kPermissions = 07777;
constexpr std::uint32_t kReceivesNoMore = 1;
constexpr std::uint32_t kSendsNoMore = 2;

Status set_options(const UniqueFd& socket, const Descriptor& descriptor) {
  for (const SocketOption& option : descriptor.options) {
    const int set = ::setsockopt(socket.get(), static_cast<int>(option.level), static_cast<int>(option.name),
                                 option.value.data(), static_cast<socklen_t>(option.value.size()));
    // A connection that has been reset has no use for what concerns its bytes.
    if (set != 0 && descriptor.kind != DescriptorKind::tcp_reset) {
      return sys::errno_error("option " + std::to_string(option.level) + "/" + std::to_string(option.name) +
                              " of a socket");
    }
  }
  return {};
}

const sockaddr* name_of(const Bytes& address) { return reinterpret_cast<const sockaddr*>(address.data()); }

Status bind_to(const UniqueFd& socket, const Bytes& address) {
  if (::bind(socket.get(), name_of(address), static_cast<socklen_t>(address.size())) != 0)
    return sys::errno_error("bind a socket");
  return {};
}

Status send_one(int socket, const Bytes& bytes) {
  const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent != static_cast<ssize_t>(bytes.size())) return sys::errno_error("fill a socket");
  return {};
}

}  // namespace

bool SocketMaker::makes(DescriptorKind kind) {
  switch (kind) {
    case DescriptorKind::socketpair:
    case DescriptorKind::tcp_listener:
    case DescriptorKind::tcp_fresh:
    case DescriptorKind::tcp_reset:
    case DescriptorKind::unix_listener:
    case DescriptorKind::unix_fresh:
    case DescriptorKind::udp:
    case DescriptorKind::host_link:
      return true;
    default:
      return false;
  }
}

Result<UniqueFd> SocketMaker::make(const Descriptor& descriptor) {
  switch (descriptor.kind) {
    case DescriptorKind::socketpair:
      return make_pair(descriptor);
    case DescriptorKind::unix_listener:
    case DescriptorKind::unix_fresh:
      return make_unix(descriptor);
    default:
      return make_internet(descriptor);
  }
}

Result<UniqueFd> SocketMaker::make_pair(const Descriptor& descriptor) {
  const auto waiting = others_.find(descriptor.pair);
  if (waiting != others_.end()) {
    RETURN_IF_ERROR(set_options(waiting->second, descriptor));
    return std::move(waiting->second);
  }
  int ends[2] = {};
  if (::socketpair(AF_UNIX, static_cast<int>(descriptor.type) | SOCK_CLOEXEC, 0, ends) != 0)
    return sys::errno_error("socketpair");
  ASSIGN_OR_RETURN(UniqueFd mine, move_above(ends[0], context_.first_free));
  ASSIGN_OR_RETURN(UniqueFd other, move_above(ends[1], context_.first_free));
  RETURN_IF_ERROR(set_options(mine, descriptor));
  others_.emplace(descriptor.pair, std::move(other));
  return mine;
}

// A socket's name in a file system has the mode that it had, and the environment's owner.
Status SocketMaker::bind_path(const UniqueFd& socket, const Descriptor& descriptor, const std::string& path) const {
  if (!is_private(context_.private_folders, path))
    return Error{ErrorKind::unsupported, "snapshot: " + path + " is in no folder of the function's own"};
  if (descriptor.has_node) {
    RETURN_IF_ERROR(bind_to(socket, descriptor.address));
    const auto node = std::find_if(context_.image.tree.begin(), context_.image.tree.end(),
                                   [&](const TreeNode& one) { return one.path == path; });
    if (context_.user != 0 && ::lchown(path.c_str(), context_.user, context_.user) != 0) return sys::errno_error(path);
    if (node != context_.image.tree.end() && ::chmod(path.c_str(), node->mode & kPermissions) != 0)
      return sys::errno_error(path);
    return {};
  }
  // The name was taken away after the bind; something else may bear it.
  const std::string aside = path + ".thaw";
  const bool taken = ::rename(path.c_str(), aside.c_str()) == 0;
  RETURN_IF_ERROR(bind_to(socket, descriptor.address));
  if (::unlink(path.c_str()) != 0) return sys::errno_error(path);
  if (taken && ::rename(aside.c_str(), path.c_str()) != 0) return sys::errno_error(path);
  return {};
}

Status SocketMaker::bind_name(const UniqueFd& socket, const Descriptor& descriptor) const {
  const Bytes& address = descriptor.address;
  constexpr std::size_t kFamilyBytes = sizeof(sa_family_t);
  if (address.size() <= kFamilyBytes) return {};
  if (address[kFamilyBytes] == std::byte{0}) return bind_to(socket, address);
  const auto* text = reinterpret_cast<const char*>(address.data()) + kFamilyBytes;
  return bind_path(socket, descriptor, std::string(text, ::strnlen(text, address.size() - kFamilyBytes)));
}

Result<UniqueFd> SocketMaker::make_unix(const Descriptor& descriptor) const {
  const int type = static_cast<int>(descriptor.type) | SOCK_CLOEXEC;
  ASSIGN_OR_RETURN(UniqueFd socket, move_above(::socket(AF_UNIX, type, 0), context_.first_free));
  RETURN_IF_ERROR(set_options(socket, descriptor));
  RETURN_IF_ERROR(bind_name(socket, descriptor));
  if (descriptor.kind == DescriptorKind::unix_listener &&
      ::listen(socket.get(), static_cast<int>(descriptor.count)) != 0) {
    return sys::errno_error("listen");
  }
  return socket;
}

Result<UniqueFd> SocketMaker::make_internet(const Descriptor& descriptor) const {
  if (descriptor.kind == DescriptorKind::tcp_reset) return make_reset(descriptor);
  ASSIGN_OR_RETURN(UniqueFd socket, move_above(::socket(static_cast<int>(descriptor.mode),
                                                        static_cast<int>(descriptor.type) | SOCK_CLOEXEC, 0),
                                               context_.first_free));
  RETURN_IF_ERROR(set_options(socket, descriptor));
  // Connections to different services of the host's may have had the same port at the function's end.
  const bool shares = descriptor.kind == DescriptorKind::host_link;
  int reuse = 0;
  socklen_t reuse_size = sizeof(reuse);
  if (shares) {
    const int on = 1;
    (void)::getsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, &reuse_size);
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  }
  if (!descriptor.address.empty()) RETURN_IF_ERROR(bind_to(socket, descriptor.address));
  if (shares) (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
  if (descriptor.kind == DescriptorKind::tcp_listener &&
      ::listen(socket.get(), static_cast<int>(descriptor.count)) != 0) {
    return sys::errno_error("listen");
  }
  if (!descriptor.peer.empty() &&
      ::connect(socket.get(), name_of(descriptor.peer), static_cast<socklen_t>(descriptor.peer.size())) != 0) {
    return sys::errno_error("connect a socket");
  }
  if (!descriptor.queued.empty()) RETURN_IF_ERROR(send_one(socket.get(), descriptor.queued));
  return socket;
}

// A real connection over the loopback whose other end closes with a reset.
Result<UniqueFd> SocketMaker::make_reset(const Descriptor& descriptor) const {
  const auto family = static_cast<int>(descriptor.mode);
  const bool six = family == AF_INET6;
  const UniqueFd listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  socklen_t size = six ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  address.ss_family = static_cast<sa_family_t>(family);
  if (six) {
    reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr = in6addr_loopback;
  } else {
    reinterpret_cast<sockaddr_in*>(&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.get(), name, size) != 0 || ::listen(listener.get(), 1) != 0 ||
      ::getsockname(listener.get(), name, &size) != 0) {
    return sys::errno_error("a connection to be reset");
  }
  ASSIGN_OR_RETURN(UniqueFd socket, move_above(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), context_.first_free));
  RETURN_IF_ERROR(set_options(socket, descriptor));
  if (::connect(socket.get(), name, size) != 0) return sys::errno_error("a connection to be reset");
  const UniqueFd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const linger now{1, 0};
  if (!peer.valid() || ::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now)) != 0)
    return sys::errno_error("a connection to be reset");
  return socket;
}

Status SocketMaker::fill(const Descriptor& descriptor) const {
  if (descriptor.kind == DescriptorKind::unix_fresh && !descriptor.messages.empty()) {
    // Its senders are unknown or gone; what they had no name for, nobody can tell apart.
    const UniqueFd sender(::socket(AF_UNIX, static_cast<int>(descriptor.type) | SOCK_CLOEXEC, 0));
    const auto size = static_cast<socklen_t>(descriptor.address.size());
    if (!sender.valid() || ::connect(sender.get(), name_of(descriptor.address), size) != 0)
      return sys::errno_error("fill a socket");
    for (const Bytes& message : descriptor.messages) RETURN_IF_ERROR(send_one(sender.get(), message));
  }
  if (descriptor.kind != DescriptorKind::socketpair) return {};
  // What waits in one end has been sent by the other.
  int other = -1;
  if (const auto gone = others_.find(descriptor.pair); descriptor.peer_gone && gone != others_.end())
    other = gone->second.get();
  for (const Descriptor& one : context_.image.descriptors) {
    if (one.kind == DescriptorKind::socketpair && one.pair == descriptor.pair && &one != &descriptor)
      other = static_cast<int>(one.numbers.front());
  }
  if (!descriptor.queued.empty()) RETURN_IF_ERROR(send_one(other, descriptor.queued));
  for (const Bytes& message : descriptor.messages) RETURN_IF_ERROR(send_one(other, message));
  return {};
}

Status SocketMaker::shut(const Descriptor& descriptor) {
  if (descriptor.kind != DescriptorKind::socketpair || descriptor.shutdown == 0) return {};
  int how = SHUT_RDWR;
  if (descriptor.shutdown == kReceivesNoMore) how = SHUT_RD;
  if (descriptor.shutdown == kSendsNoMore) how = SHUT_WR;
  if (::shutdown(static_cast<int>(descriptor.numbers.front()), how) != 0) return sys::errno_error("shutdown");
  return {};
}

}  // namespace thaw::snapshot
