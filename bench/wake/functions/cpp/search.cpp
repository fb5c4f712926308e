// A web function in C++ for `./dev bench wake`: a full-text index in memory, built during init, behind an HTTP/1.1
// server with a pool of threads. The texts are made up from a fixed seed, so that every run builds the same index (some
// 60 MB) and every answer can be checked.
//
//   GET /?WORD+WORD   how many of the texts hold all the words
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

constexpr std::size_t kTexts = 60'000;
constexpr std::size_t kWordsInText = 60;
constexpr std::size_t kWords = 20'000;
constexpr int kThreads = 8;
constexpr std::size_t kRequestBytesMax = 64 * 1024;

std::string word(std::size_t number) {
  std::string text = "w";
  for (; number > 0; number /= 26) text += static_cast<char>('a' + number % 26);
  return text;
}

class Index {
 public:
  Index() {
    std::mt19937 random(1);
    texts_.reserve(kTexts);
    for (std::uint32_t number = 0; number < kTexts; ++number) {
      std::string text;
      for (std::size_t i = 0; i < kWordsInText; ++i) {
        // The product of two draws: some words are common and many are rare, as in a language.
        const std::size_t rank = (random() % kWords) * (random() % kWords) / kWords;
        text += word(rank);
        text += ' ';
      }
      add(number, text);
      texts_.push_back(std::move(text));
    }
  }

  // How many texts hold all of the words, which are separated by '+'.
  std::size_t count(std::string_view words) const {
    std::vector<std::uint32_t> found;
    for (bool first = true; !words.empty(); first = false) {
      const std::size_t end = std::min(words.find('+'), words.size());
      const auto entry = postings_.find(std::string(words.substr(0, end)));
      words.remove_prefix(std::min(end + 1, words.size()));
      if (entry == postings_.end()) return 0;
      if (first) {
        found = entry->second;
        continue;
      }
      std::vector<std::uint32_t> both;
      std::set_intersection(found.begin(), found.end(), entry->second.begin(), entry->second.end(),
                            std::back_inserter(both));
      found = std::move(both);
    }
    return found.size();
  }

 private:
  void add(std::uint32_t number, std::string_view text) {
    while (!text.empty()) {
      const std::size_t end = text.find(' ');
      std::vector<std::uint32_t>& list = postings_[std::string(text.substr(0, end))];
      if (list.empty() || list.back() != number) list.push_back(number);
      text.remove_prefix(end + 1);
    }
  }

  std::vector<std::string> texts_;
  std::unordered_map<std::string, std::vector<std::uint32_t>> postings_;
};

bool write_all(int connection, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool contains_ignoring_case(std::string_view text, std::string_view lower) {
  const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; };
  return std::search(text.begin(), text.end(), lower.begin(), lower.end(), same) != text.end();
}

// The bytes of a body that Content-Length announces; 0 without one.
std::size_t body_bytes(std::string_view head) {
  const std::string name = "\r\ncontent-length:";
  const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; };
  const auto found = std::search(head.begin(), head.end(), name.begin(), name.end(), same);
  if (found == head.end()) return 0;
  return std::strtoull(&*found + name.size(), nullptr, 10);
}

// One request after the other until the client closes.
void serve(const Index& index, int connection) {
  std::string received;
  for (bool open = true; open;) {
    std::size_t head = received.find("\r\n\r\n");
    std::size_t whole =
        head == std::string::npos ? 0 : head + 4 + body_bytes(std::string_view(received).substr(0, head));
    while (head == std::string::npos || received.size() < whole) {
      if (received.size() > kRequestBytesMax) return;
      char bytes[4096];
      const ssize_t got = ::recv(connection, bytes, sizeof(bytes), 0);
      if (got <= 0) return;
      received.append(bytes, static_cast<std::size_t>(got));
      head = received.find("\r\n\r\n");
      if (head != std::string::npos) whole = head + 4 + body_bytes(std::string_view(received).substr(0, head));
    }
    const std::string_view line = std::string_view(received).substr(0, received.find("\r\n"));
    const std::size_t begin = line.find('?');
    const std::size_t end = line.rfind(' ');
    const bool asks = begin != std::string_view::npos && end > begin;
    const std::string body = std::to_string(asks ? index.count(line.substr(begin + 1, end - begin - 1)) : 0) + "\n";
    open = !contains_ignoring_case(std::string_view(received).substr(0, head), "connection: close");
    const std::string answer =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
        (open ? "" : "\r\nConnection: close") + "\r\n\r\n" + body;
    if (!write_all(connection, answer)) return;
    received.erase(0, whole);
  }
}

int listen_on(std::uint16_t port) {
  const char* bind = std::getenv("BIND");
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  // BIND=0.0.0.0 is for a sandbox whose network is reached from outside.
  address.sin_addr.s_addr = ::inet_addr(bind != nullptr ? bind : "127.0.0.1");
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return -1;
  return ::listen(listener, 128) == 0 ? listener : -1;
}

}  // namespace

int main() {
  const char* port = std::getenv("PORT");
  const Index index;
  const int listener = listen_on(static_cast<std::uint16_t>(port != nullptr ? std::atoi(port) : 8080));
  if (listener < 0) {
    std::perror("listen");
    return 1;
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (;;) {
        const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (connection < 0) continue;
        const int on = 1;
        ::setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        serve(index, connection);
        ::close(connection);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}
