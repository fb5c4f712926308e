// Datagrams with descriptors on a SOCK_SEQPACKET socket.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::sandbox {

// Both ends of a new SOCK_SEQPACKET connection, CLOEXEC.
struct SocketPair {
  UniqueFd one;
  UniqueFd other;
};
Result<SocketPair> make_message_sockets();

enum class Wait { no, yes };

// One datagram with its descriptors; the caller keeps its own. Errors: `overloaded` when the socket is full and wait is
// no; `unavailable` when the other end is gone.
Status send_message(const UniqueFd& socket, std::string_view bytes, std::span<const int> fds, Wait wait);

struct Message {
  std::size_t size = 0;  // bytes written into the buffer
  std::vector<UniqueFd> fds;
};

inline constexpr std::size_t kMessageDescriptorsMax = 128;

// The next datagram. size 0 and no error: the other end is closed. Errors: `overloaded` when none is there and wait is
// no; `too_large` when it did not fit into buffer or had more than kMessageDescriptorsMax descriptors.
Result<Message> receive_message(const UniqueFd& socket, std::span<std::byte> buffer, Wait wait);

}  // namespace thaw::sandbox
