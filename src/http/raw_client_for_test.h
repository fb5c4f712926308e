// A client as misbehaving ones are: bytes on a real socket, whatever they are.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "base/unique_fd.h"

namespace thaw::http {

class RawClient {
 public:
  explicit RawClient(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval bound{20, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
    connected_ = ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }

  bool connected() const { return connected_; }
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
  }
  void send_request(std::string_view method, std::string_view path, std::string_view fields = {},
                    std::string_view body = {}) {
    send(std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: x\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n" + std::string(fields) + "\r\n" + std::string(body));
  }
  void receive_at_most(int bytes) { ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)); }
  // Reads up to so many bytes: what recv() gives.
  ssize_t some(std::size_t bytes) {
    char chunk[4096];
    return ::recv(socket_.get(), chunk, std::min(bytes, sizeof(chunk)), 0);
  }
  // Reads until the text has been seen, or the end.
  std::string until(std::string_view text) {
    while (got_.find(text) == std::string::npos && read_some()) {
    }
    return std::exchange(got_, {});
  }
  std::string all() { return until(std::string_view("\0never\0", 7)); }
  void half_close() { ::shutdown(socket_.get(), SHUT_WR); }

  struct Answer {
    int status = 0;  // 0: the connection's end came first
    std::string head;
    std::string body;

    std::string field(std::string_view name) const {
      const std::size_t at = head.find("\r\n" + std::string(name) + ": ");
      if (at == std::string::npos) return {};
      const std::size_t begin = at + name.size() + 4;
      return head.substr(begin, head.find("\r\n", begin) - begin);
    }
  };
  // The next answer, by its Content-Length.
  Answer answer() {
    Answer answer;
    std::size_t end = std::string::npos;
    while ((end = got_.find("\r\n\r\n")) == std::string::npos) {
      if (!read_some()) return answer;
    }
    answer.head = got_.substr(0, end + 2);
    got_.erase(0, end + 4);
    const std::size_t size = std::strtoul(answer.field("Content-Length").c_str(), nullptr, 10);
    while (got_.size() < size) {
      if (!read_some()) return answer;
    }
    answer.status = std::atoi(answer.head.c_str() + std::string_view("HTTP/1.1 ").size());
    answer.body = got_.substr(0, size);
    got_.erase(0, size);
    return answer;
  }
  Answer ask(std::string_view method, std::string_view path, std::string_view fields = {}, std::string_view body = {}) {
    send_request(method, path, fields, body);
    return answer();
  }
  // Whether the other side closes the connection.
  bool ends() {
    while (read_some()) got_.clear();
    return ended_;
  }

 private:
  bool read_some() {
    char chunk[16384];
    const ssize_t count = ::recv(socket_.get(), chunk, sizeof(chunk), 0);
    ended_ = count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
    if (count <= 0) return false;
    got_.append(chunk, static_cast<std::size_t>(count));
    return true;
  }

  UniqueFd socket_;
  std::string got_;
  bool connected_ = false;
  bool ended_ = false;
};

}  // namespace thaw::http
