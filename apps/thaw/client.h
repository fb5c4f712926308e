// HTTP to the daemon, over its Unix socket or a URL. The only file that knows libcurl.
//
//   Client client(endpoint);
//   ASSIGN_OR_RETURN(const Response response, client.send({.target = "/thaw/v1/status"}));
//
// Bodies are streamed both ways: nothing is held whole unless the caller collects it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace thaw::cli {

struct Endpoint {
  // One of the two is set.
  std::string socket_path;
  std::string url;  // http://HOST:PORT or https://HOST:PORT

  // How messages call it.
  const std::string& name() const { return url.empty() ? socket_path : url; }
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct ResponseHead {
  int status = 0;
  Headers headers;  // of the final response; names as they came

  // The first of that name, in any case; nullptr when there is none.
  const std::string* header(std::string_view name) const;
  bool ok() const { return status >= 200 && status < 300; }
};

struct Request {
  std::string method = "GET";
  std::string target = "/";  // percent-encoded path and query
  Headers headers = {};
  // Fills the span and returns how much; 0 ends the body. Unset: no body.
  std::function<Result<std::size_t>(std::span<char>)> body = {};
  // Sent as Content-Length; without it the body goes out chunked.
  std::optional<std::uint64_t> body_bytes = {};
  // Called now and then while the request is under way; an error ends it.
  std::function<Status()> keep_going = {};
};

// Gets the body piece by piece, the head already complete. An error ends the transfer.
using BodySink = std::function<Status(const ResponseHead& head, std::string_view bytes)>;

struct Response : ResponseHead {
  std::string body;
};

inline constexpr std::size_t kCollectedBodyBytesMax = 64 << 20;

// Ownership: keeps one connection, reused between requests.
// Threads: one at a time.
// Errors: `unavailable` when the daemon cannot be reached, saying why and what to do; `forbidden` when the socket may
// not be opened. A response of any status is no error.
class Client {
 public:
  explicit Client(Endpoint endpoint);
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  const Endpoint& endpoint() const { return endpoint_; }
  // Streams the response's body into the sink.
  Result<ResponseHead> stream(const Request& request, const BodySink& sink);
  // Collects it, up to kCollectedBodyBytesMax.
  Result<Response> send(const Request& request);

 private:
  struct Connection;
  Endpoint endpoint_;
  std::unique_ptr<Connection> connection_;
};

// A body that is at hand whole.
std::function<Result<std::size_t>(std::span<char>)> body_of(std::string text);

}  // namespace thaw::cli
