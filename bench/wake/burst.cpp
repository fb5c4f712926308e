// Opens many connections at once, sends a request on each, and says when each answer began. One thread and epoll: the
// client's own work is some tens of microseconds a connection.
//
//   thaw_bench_burst PORT COUNT PATH HOLD_MS
//
// Connections stay open until every answer has begun, and HOLD_MS longer, so that whoever answers with an unfinished
// body stays busy meanwhile. Prints one JSON object: milliseconds from the first connect() to the first byte of each
// answer's body, the statuses, and how much of the time this program computed. After "begun" on standard output the
// holding begins; a line on standard input, or HOLD_MS, ends it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kWaitMaxMs = 60'000;
constexpr int kCountMax = 10'000;

struct Connection {
  int fd = -1;
  bool sent = false;
  std::string received;
  double begun_ms = -1;  // the first byte of the body
  bool over = false;
};

double milliseconds_since(Clock::time_point began) {
  return std::chrono::duration<double, std::milli>(Clock::now() - began).count();
}

bool body_begun(const std::string& received) {
  const std::size_t head = received.find("\r\n\r\n");
  if (head == std::string::npos) return false;
  // A chunked body's first bytes are the length of its first piece.
  const bool chunked = received.find("chunked") < head;
  const std::size_t size_line = chunked ? received.find("\r\n", head + 4) : head + 2;
  return size_line != std::string::npos && received.size() > size_line + 2;
}

int status_of(const std::string& received) { return received.size() > 12 ? std::atoi(received.c_str() + 9) : 0; }

// False when the other side has ended the connection before it answered.
bool read_from(Connection& connection, Clock::time_point began) {
  char bytes[16384];
  for (;;) {
    const ssize_t got = ::recv(connection.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got <= 0) {
      connection.over = true;
      return connection.begun_ms >= 0;
    }
    connection.received.append(bytes, static_cast<std::size_t>(got));
    if (connection.begun_ms < 0 && body_begun(connection.received)) connection.begun_ms = milliseconds_since(began);
  }
}

double cpu_ms() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

void print_result(const std::vector<Connection>& connections, double cpu) {
  std::printf("{\"begun_ms\": [");
  for (std::size_t i = 0; i < connections.size(); ++i)
    std::printf("%s%.3f", i > 0 ? ", " : "", connections[i].begun_ms);
  std::printf("], \"status\": [");
  for (std::size_t i = 0; i < connections.size(); ++i)
    std::printf("%s%d", i > 0 ? ", " : "", status_of(connections[i].received));
  std::size_t ended_early = 0;
  for (const Connection& connection : connections) ended_early += connection.over;
  std::printf("], \"ended_early\": %zu, \"client_cpu_ms\": %.1f}\n", ended_early, cpu);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(argv[1])));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int count = std::atoi(argv[2]);
  if (count < 1 || count > kCountMax) return 2;
  const std::string request = std::string("GET ") + argv[3] + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const int hold_ms = std::atoi(argv[4]);

  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<Connection> connections(static_cast<std::size_t>(count));
  for (Connection& connection : connections) {
    connection.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection.fd < 0) return 1;
  }
  const auto began = Clock::now();
  for (std::size_t i = 0; i < connections.size(); ++i) {
    if (::connect(connections[i].fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 &&
        errno != EINPROGRESS) {
      std::perror("connect");
      return 1;
    }
    epoll_event event{EPOLLIN | EPOLLOUT | EPOLLET, {.u64 = i}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event);
  }
  std::size_t waiting = connections.size();
  while (waiting > 0 && milliseconds_since(began) < kWaitMaxMs) {
    epoll_event events[64];
    const int ready = ::epoll_wait(epoll, events, 64, 1000);
    for (int i = 0; i < ready; ++i) {
      Connection& connection = connections[events[i].data.u64];
      if ((events[i].events & EPOLLOUT) != 0 && !connection.sent) {
        connection.sent =
            ::send(connection.fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size());
      }
      const bool had = connection.begun_ms >= 0 || connection.over;
      if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) (void)read_from(connection, began);
      if (!had && (connection.begun_ms >= 0 || connection.over)) --waiting;
    }
  }
  const double cpu = cpu_ms();
  std::printf("begun\n");
  std::fflush(stdout);
  pollfd told{STDIN_FILENO, POLLIN, 0};
  ::poll(&told, 1, hold_ms);
  // Whoever has ended by now did not hold its environment.
  for (Connection& connection : connections) {
    if (!connection.over) (void)read_from(connection, began);
  }
  print_result(connections, cpu);
}
