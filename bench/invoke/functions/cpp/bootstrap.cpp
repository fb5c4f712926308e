// A custom runtime of AWS Lambda that answers with its event: the Runtime API over one plain connection, nothing else.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

constexpr std::string_view kRoot = "/2018-06-01/runtime/invocation/";

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(1);
}

int connect_to(const std::string& address) {
  const std::size_t colon = address.find(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::atoi(address.c_str() + colon + 1)));
  ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (::connect(socket, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) give_up("connect to the Runtime API");
  return socket;
}

struct Answer {
  std::string head;
  std::string body;

  std::string field(std::string_view name) const {
    const std::size_t at = head.find("\r\n" + std::string(name) + ": ");
    if (at == std::string::npos) return {};
    const std::size_t from = at + name.size() + 4;
    return head.substr(from, head.find("\r\n", from) - from);
  }
};

void receive(int socket, std::string& into) {
  char piece[65536];
  const ssize_t got = ::recv(socket, piece, sizeof(piece), 0);
  if (got <= 0) give_up("the Runtime API has gone");
  into.append(piece, static_cast<std::size_t>(got));
}

Answer call(int socket, const std::string& request) {
  if (::send(socket, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    give_up("send");
  std::string bytes;
  std::size_t end = std::string::npos;
  while ((end = bytes.find("\r\n\r\n")) == std::string::npos) receive(socket, bytes);
  Answer answer{bytes.substr(0, end + 2), bytes.substr(end + 4)};
  const std::size_t length = std::strtoull(answer.field("Content-Length").c_str(), nullptr, 10);
  while (answer.body.size() < length) receive(socket, answer.body);
  return answer;
}

}  // namespace

int main() {
  const std::string address = std::getenv("AWS_LAMBDA_RUNTIME_API");
  const int socket = connect_to(address);
  const std::string host = " HTTP/1.1\r\nHost: " + address + "\r\n";
  for (;;) {
    const Answer event = call(socket, "GET " + std::string(kRoot) + "next" + host + "\r\n");
    const std::string path = std::string(kRoot) + event.field("Lambda-Runtime-Aws-Request-Id") + "/response";
    call(socket,
         "POST " + path + host + "Content-Length: " + std::to_string(event.body.size()) + "\r\n\r\n" + event.body);
  }
}
