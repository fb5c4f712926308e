// Sockets; see subject.h.
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "subject.h"

namespace {

using subject::expect;
using subject::require;

std::string next(int socket) {
  char bytes[4096] = {};
  const ssize_t size = ::recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT);
  return size < 0 ? "(nothing)" : std::string(bytes, static_cast<std::size_t>(size));
}

bool send_text(int socket, const std::string& text) {
  return ::send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(text.size());
}

struct Name {
  sockaddr_un address{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

// A name that begins with @ is abstract.
Name name(const std::string& text) {
  Name result;
  result.address.sun_family = AF_UNIX;
  std::memcpy(result.address.sun_path, text.data(), text.size());
  if (text.starts_with('@')) result.address.sun_path[0] = '\0';
  result.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size());
  return result;
}

int bound(int type, const std::string& text) {
  const int socket = ::socket(AF_UNIX, type, 0);
  const Name own = name(text);
  require(socket >= 0 && ::bind(socket, own.get(), own.size) == 0, "bind");
  return socket;
}

// ---- Pairs ----

struct {
  int stream[2];
  int datagram[2];
  int packet[2];
  int shut[2];
  int orphan = -1;
  int packet_orphan = -1;
} pairs;

void make_pairs() {
  require(::socketpair(AF_UNIX, SOCK_STREAM, 0, pairs.stream) == 0, "socketpair");
  require(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pairs.datagram) == 0, "socketpair");
  require(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pairs.packet) == 0, "socketpair");
  require(::socketpair(AF_UNIX, SOCK_STREAM, 0, pairs.shut) == 0, "socketpair");
  require(send_text(pairs.stream[0], "bytes of ") && send_text(pairs.stream[0], "a stream"), "send");
  require(send_text(pairs.stream[1], "and back"), "send");
  for (const char* text : {"first", "", "the third message"}) {
    require(send_text(pairs.datagram[0], text) && send_text(pairs.packet[1], text), "send");
  }
  require(send_text(pairs.shut[0], "last words") && ::shutdown(pairs.shut[0], SHUT_WR) == 0, "shutdown");
  int gone[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM, 0, gone) == 0 && send_text(gone[1], "farewell"), "socketpair");
  ::close(gone[1]);
  pairs.orphan = gone[0];
  require(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, gone) == 0 && send_text(gone[1], "one") && send_text(gone[1], "two"),
          "socketpair");
  ::close(gone[1]);
  pairs.packet_orphan = gone[0];
}

void check_pairs() {
  expect(next(pairs.stream[1]) == "bytes of a stream" && next(pairs.stream[0]) == "and back",
         "bytes in a pair of streams");
  for (const char* text : {"first", "", "the third message", "(nothing)"}) {
    expect(next(pairs.datagram[1]) == text, std::string("a datagram: ") + text);
    expect(next(pairs.packet[0]) == text, std::string("a packet: ") + text);
  }
  expect((::fcntl(pairs.datagram[0], F_GETFL) & O_NONBLOCK) != 0, "flags");
  expect(send_text(pairs.datagram[1], "hello") && next(pairs.datagram[0]) == "hello", "a datagram back");
  expect(send_text(pairs.packet[0], "hello") && next(pairs.packet[1]) == "hello", "a packet back");
  expect(next(pairs.shut[1]) == "last words" && next(pairs.shut[1]).empty(), "the end of a stream that was shut");
  expect(!send_text(pairs.shut[0], "x") && errno == EPIPE, "that a shut stream takes nothing");
  expect(send_text(pairs.shut[1], "still") && next(pairs.shut[0]) == "still", "the other way of a shut stream");
  expect(next(pairs.orphan) == "farewell" && next(pairs.orphan).empty(), "a stream whose other end is closed");
  expect(!send_text(pairs.orphan, "x") && errno == EPIPE, "that nobody takes what is sent to it");
  expect(next(pairs.packet_orphan) == "one" && next(pairs.packet_orphan) == "two" && next(pairs.packet_orphan).empty(),
         "packets whose sender is closed");
}

// ---- Unix sockets with names ----

struct {
  int listener = -1;
  int abstract = -1;
  int packets = -1;
  int inbox = -1;
  int abstract_inbox = -1;
  int unbound = -1;
  int nameless = -1;  // listens at a name that has been removed
} named;

void make_named() {
  require(::mkdir("/tmp/run", 0700) == 0, "mkdir");
  named.listener = bound(SOCK_STREAM, "/tmp/run/server.sock");
  require(::listen(named.listener, 5) == 0 && ::chmod("/tmp/run/server.sock", 0660) == 0, "listen");
  named.abstract = bound(SOCK_STREAM | SOCK_NONBLOCK, "@an abstract name");
  named.packets = bound(SOCK_SEQPACKET, "/dev/shm/packets");
  require(::listen(named.abstract, 1) == 0 && ::listen(named.packets, 1) == 0, "listen");
  named.inbox = bound(SOCK_DGRAM, "/tmp/inbox");
  named.abstract_inbox = bound(SOCK_DGRAM, "@inbox");
  const int sender = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  for (const Name& to : {name("/tmp/inbox"), name("@inbox")}) {
    require(::sendto(sender, "waits", 5, 0, to.get(), to.size) == 5 &&
                ::sendto(sender, "too", 3, 0, to.get(), to.size) == 3,
            "sendto");
  }
  ::close(sender);
  named.unbound = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  named.nameless = bound(SOCK_STREAM, "/tmp/removed");
  require(::listen(named.nameless, 1) == 0 && ::unlink("/tmp/removed") == 0, "unlink");
}

// Somebody connects, and both hear each other.
void meet(int listener, int type, const std::string& text) {
  const int client = ::socket(AF_UNIX, type, 0);
  const Name to = name(text);
  expect(::connect(client, to.get(), to.size) == 0, "connect to " + text);
  const int server = ::accept(listener, nullptr, nullptr);
  expect(server >= 0 && send_text(client, "ping") && next(server) == "ping" && send_text(server, "pong") &&
             next(client) == "pong",
         "a connection to " + text);
}

void check_named() {
  meet(named.listener, SOCK_STREAM, "/tmp/run/server.sock");
  meet(named.abstract, SOCK_STREAM, "@an abstract name");
  meet(named.packets, SOCK_SEQPACKET, "/dev/shm/packets");
  struct stat status {};
  expect(::stat("/tmp/run/server.sock", &status) == 0 && status.st_mode == (S_IFSOCK | 0660) &&
             status.st_uid == ::getuid(),
         "mode and owner of a socket's name");
  // Of a backlog of n, n + 1 connections may wait.
  int waiting = 0;
  for (; waiting < 20; ++waiting) {
    const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const Name to = name("/tmp/run/server.sock");
    if (::connect(client, to.get(), to.size) != 0) break;
  }
  expect(waiting == 6, "the backlog: " + std::to_string(waiting));
  for (const int inbox : {named.inbox, named.abstract_inbox})
    expect(next(inbox) == "waits" && next(inbox) == "too" && next(inbox) == "(nothing)", "messages that waited");
  const Name inbox = name("/tmp/inbox");
  expect(::sendto(named.unbound, "new", 3, 0, inbox.get(), inbox.size) == 3 && next(named.inbox) == "new",
         "a new message");
  expect(::access("/tmp/removed", F_OK) != 0, "that a removed name stays removed");
  int listens = 0;
  socklen_t size = sizeof(listens);
  expect(::getsockopt(named.nameless, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens == 1,
         "that its socket still listens");
}

// ---- The internet's sockets ----

struct {
  int listener = -1;
  int udp = -1;
  int connected = -1;
  int fresh = -1;
} inet;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

template <class Call>
bool with(Call call, int socket, std::uint16_t port) {
  const sockaddr_in address = loopback(port);
  return call(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

void make_internet() {
  inet.listener = ::socket(AF_INET, SOCK_STREAM, 0);
  require(with(::bind, inet.listener, 7001) && ::listen(inet.listener, 7) == 0, "listen");
  const linger slow{1, 7};
  const timeval wait{3, 0};
  const int idle = 77;
  require(::setsockopt(inet.listener, SOL_SOCKET, SO_LINGER, &slow, sizeof(slow)) == 0 &&
              ::setsockopt(inet.listener, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0 &&
              ::setsockopt(inet.listener, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) == 0,
          "options");
  inet.udp = ::socket(AF_INET, SOCK_DGRAM, 0);
  require(with(::bind, inet.udp, 7002), "bind");
  const int bytes = 100'000;
  require(::setsockopt(inet.udp, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0, "SO_RCVBUF");
  inet.connected = ::socket(AF_INET, SOCK_DGRAM, 0);
  require(with(::bind, inet.connected, 7003) && with(::connect, inet.connected, 7002), "connect");
  inet.fresh = ::socket(AF_INET6, SOCK_STREAM, 0);
}

void check_internet() {
  tcp_info about{};
  socklen_t size = sizeof(about);
  expect(::getsockopt(inet.listener, IPPROTO_TCP, TCP_INFO, &about, &size) == 0 && about.tcpi_sacked == 7,
         "the backlog of a listener");
  linger slow{};
  size = sizeof(slow);
  expect(
      ::getsockopt(inet.listener, SOL_SOCKET, SO_LINGER, &slow, &size) == 0 && slow.l_onoff == 1 && slow.l_linger == 7,
      "SO_LINGER");
  timeval wait{};
  size = sizeof(wait);
  expect(::getsockopt(inet.listener, SOL_SOCKET, SO_RCVTIMEO, &wait, &size) == 0 && wait.tv_sec == 3, "SO_RCVTIMEO");
  int idle = 0;
  size = sizeof(idle);
  expect(::getsockopt(inet.listener, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &size) == 0 && idle == 77, "TCP_KEEPIDLE");
  const int client = ::socket(AF_INET, SOCK_STREAM, 0);
  expect(with(::connect, client, 7001) && ::accept(inet.listener, nullptr, nullptr) >= 0, "a new connection");
  expect(send_text(inet.connected, "to port 7002"), "send by UDP");
  pollfd ready{inet.udp, POLLIN, 0};
  char text[32] = {};
  sockaddr_in sender{};
  size = sizeof(sender);
  expect(::poll(&ready, 1, 5000) == 1 &&
             ::recvfrom(inet.udp, text, sizeof(text), 0, reinterpret_cast<sockaddr*>(&sender), &size) == 12 &&
             ntohs(sender.sin_port) == 7003,
         "receive by UDP");
  int bytes = 0;
  size = sizeof(bytes);
  expect(::getsockopt(inet.udp, SOL_SOCKET, SO_RCVBUF, &bytes, &size) == 0 && bytes == 200'000, "SO_RCVBUF");
  int family = 0;
  size = sizeof(family);
  expect(::getsockopt(inet.fresh, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family == AF_INET6, "a fresh socket");
}

// ---- A connection ----

int connection[2] = {-1, -1};
int forgotten = -1;  // a listener

void make_connection() {
  forgotten = ::socket(AF_INET, SOCK_STREAM, 0);
  connection[0] = ::socket(AF_INET, SOCK_STREAM, 0);
  require(with(::bind, forgotten, 7005) && ::listen(forgotten, 4) == 0 && with(::connect, connection[0], 7005),
          "connect");
  connection[1] = ::accept(forgotten, nullptr, nullptr);
  require(connection[1] >= 0, "accept");
}

// The original and its clones know who they are by whether the connection still works.
void check_connection() {
  for (const int end : connection) {
    char byte = 0;
    expect(::recv(end, &byte, 1, 0) < 0 && errno == ECONNRESET, "that the connection has been reset");
    expect(::recv(end, &byte, 1, 0) == 0, "that it stays closed");
  }
  connection[0] = ::socket(AF_INET, SOCK_STREAM, 0);
  expect(with(::connect, connection[0], 7005) && ::accept(forgotten, nullptr, nullptr) >= 0, "that a new one comes");
}

// ---- What refuses ----

void leave_connection_waiting() {
  const int listener = bound(SOCK_STREAM, "@busy");
  require(::listen(listener, 4) == 0, "listen");
  const Name to = name("@busy");
  require(::connect(::socket(AF_UNIX, SOCK_STREAM, 0), to.get(), to.size) == 0, "connect");
}

void leave_descriptor_waiting() {
  int ends[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
  char byte = 'x';
  iovec vector{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int));
  const int sent = 1;
  std::memcpy(CMSG_DATA(part), &sent, sizeof(sent));
  require(::sendmsg(ends[0], &message, 0) == 1, "sendmsg");
}

void leave_datagram_waiting() {
  const int receiver = ::socket(AF_INET, SOCK_DGRAM, 0);
  const int sender = ::socket(AF_INET, SOCK_DGRAM, 0);
  require(with(::bind, receiver, 7009) && with(::connect, sender, 7009) && send_text(sender, "x"), "send");
  ::close(sender);
}

void connect_by_name() {
  const int listener = bound(SOCK_STREAM, "@known");
  require(::listen(listener, 4) == 0, "listen");
  const Name to = name("@known");
  require(::connect(::socket(AF_UNIX, SOCK_STREAM, 0), to.get(), to.size) == 0, "connect");
  require(::accept(listener, nullptr, nullptr) >= 0, "accept");
}

void bind_elsewhere() {
  const std::string path = "/var/tmp/thaw-subject-" + std::to_string(::rand()) + std::to_string(::time(nullptr));
  bound(SOCK_DGRAM, path);
  ::unlink(path.c_str());
}

void filter_socket() {
  sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, 0xffff)};
  const sock_fprog program{1, all};
  const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  require(::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0, "SO_ATTACH_FILTER");
}

void join_group() {
  const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  ip_mreq group{};
  group.imr_multiaddr.s_addr = htonl(0xef010203);
  group.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
  require(with(::bind, socket, 7010), "bind");
  require(::setsockopt(socket, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) == 0, "IP_ADD_MEMBERSHIP");
}

}  // namespace

int main(int argc, char** argv) {
  return subject::run(argc, argv,
                      {{"pairs", make_pairs, check_pairs},
                       {"named", make_named, check_named},
                       {"internet", make_internet, check_internet},
                       {"connection", make_connection, check_connection},
                       {"connection-waits", leave_connection_waiting, [] {}},
                       {"descriptor-waits", leave_descriptor_waiting, [] {}},
                       {"datagram-waits", leave_datagram_waiting, [] {}},
                       {"connected-by-name", connect_by_name, [] {}},
                       {"filtered", filter_socket, [] {}},
                       {"joined", join_group, [] {}},
                       {"bound-elsewhere", bind_elsewhere, [] {}}});
}
