// The HTTP/1.1 server: listeners, connections, and one Exchange for each request. Bodies stream both ways; nothing is
// ever held whole unless the handler asks for it with a bound.
//
//   http::Server server(loops, limits, [](http::Exchange& exchange) -> http::Task<> {
//     co_await exchange.respond({.status = 200, .content_type = "text/plain", .body = "hello\n"});
//   });
//   server.listen_tcp("127.0.0.1", 8080);
#pragma once

#include <atomic>
#include <boost/asio/buffer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "http/loop.h"
#include "http/message.h"
#include "http/message_reader.h"

namespace thaw::http {

struct ServerLimits {
  std::size_t header_bytes_max = 65536;
  std::size_t connections_max = 10000;
  std::chrono::seconds header_wait_max{30};      // from a request's first byte to the end of its head
  std::chrono::seconds keep_alive_wait_max{75};  // between two requests of a connection
  std::chrono::seconds stall_wait_max{60};       // without a byte moving, in a body or in a write that waits
};

struct Peer {
  bool unix_socket = false;
  bool loopback = false;  // TCP with both ends on a loopback address
  std::string address;    // "127.0.0.1", "::1"; empty for a Unix socket
  std::uint16_t port = 0;
};

struct Response {
  int status = 200;
  std::string_view content_type = "application/json";
  std::string_view body = {};
  // Further fields, each "Name: value\r\n".
  std::string_view extra_fields = {};
};

class Connection;

// One request and its answer. Ownership: belongs to its connection; valid until the handler returns.
// Threads: the connection's loop only.
class Exchange {
 public:
  const RequestHead& request() const { return reader_.head(); }
  const Peer& peer() const;
  Loop& loop() const;

  // The next piece of the body, decoded; empty at its end. Valid until the next call. Answers "Expect: 100-continue".
  // Errors: invalid_argument for broken framing, too_large past set_body_bytes_max(), timeout for a stalled client.
  Task<Result<std::string_view>> read_body();
  // The next piece if it is here already: no waiting. Empty when nothing is.
  Result<std::string_view> read_body_now();
  bool body_done() const { return reader_.done() && !restored_waits_; }
  // The fields behind a chunked body, at its end.
  const Fields& trailers() const { return reader_.trailers(); }
  Task<Result<std::string>> read_whole_body(std::size_t bytes_max);
  // Counts against the declared length at once: false when Content-Length alone breaks the bound.
  bool set_body_bytes_max(std::uint64_t bytes_max);

  // Has a body that was read whole read again, in one piece; its bound is counted anew.
  void restore_body(std::string body);

  // A whole response. Errors (here and below): the client is gone; the connection closes after the handler.
  Task<Status> respond(Response response);
  // A streamed response: chunked for HTTP/1.1, until the connection's end for HTTP/1.0.
  Task<Status> start_stream(Response head);
  Task<Status> write_stream(std::string_view piece);
  Task<Status> finish_stream();

  // For forwarding: bytes written as they are. The caller frames the response, and says so by mark_responded().
  template <class Buffers>
  Task<Status> write_raw(const Buffers& buffers);
  // As much as the socket takes without waiting: bytes written. Less than all, also on an error: write_raw() the rest.
  std::size_t write_now(asio::const_buffer buffer);
  void mark_responded() { responded_ = true; }
  bool responded() const { return responded_; }
  // The connection closes after this exchange; says so in heads that begin_head() writes from now on.
  void close_after() { close_ = true; }
  // The connection is reset after this exchange: a client that takes the connection's end for the response's would
  // otherwise take a part for the whole.
  void reset_after();
  // Writes wait no longer than until then, however the client reads. TimePoint::max(): stall_wait_max alone bounds
  // them.
  void set_write_deadline(TimePoint deadline) { write_deadline_ = deadline; }
  // Whether the connection goes on after this exchange.
  bool keep_alive() const;
  // Fields that every head of this exchange has from now on, whoever writes it; each "Name: value\r\n".
  void set_own_fields(std::string fields) { own_fields_ = std::move(fields); }
  const std::string& own_fields() const { return own_fields_; }
  // "HTTP/1.1 200 OK\r\nDate: …\r\n", the own fields, and "Connection: …\r\n" where needed. with_date: false when the
  // forwarded head has one.
  enum class DateField { add, omit };
  void begin_head(std::string& out, int status, std::string_view reason, DateField date) const;

  // Run once on the loop when the client goes away while the exchange runs (seen within about a sweep). Cleared with
  // {}.
  void set_on_client_gone(std::function<void()> on_gone) { on_client_gone_ = std::move(on_gone); }
  bool client_gone() const { return client_gone_; }

 private:
  friend class Connection;
  explicit Exchange(Connection& connection, MessageReader<true>& reader);

  Task<Status> send_continue_if_asked();
  Result<std::string_view> count_body(std::string_view piece);

  Connection& connection_;
  MessageReader<true>& reader_;
  std::function<void()> on_client_gone_;
  std::string restored_body_;
  bool restored_waits_ = false;  // it has not been read again
  std::uint64_t body_bytes_ = 0;
  std::uint64_t body_bytes_max_ = UINT64_MAX;
  bool responded_ = false;
  bool streaming_ = false;
  bool chunked_ = false;
  bool close_ = false;
  bool reset_ = false;
  bool client_gone_ = false;
  TimePoint write_deadline_ = TimePoint::max();
  bool continue_sent_ = false;
  std::string scratch_;
  std::string own_fields_;
};

using Handler = std::function<Task<>(Exchange&)>;

// Requests of a server: each counts as begun from its first byte on, and as ended when its exchange is over.
struct RequestCount {
  std::atomic<std::uint64_t> begun{0};
  std::atomic<std::uint64_t> ended{0};
};

// Ownership: loops outlive the server; the server outlives its connections, which cut_off() ends.
// Threads: all from the thread that made it, while the loops run or before.
class Server {
 public:
  Server(Loops& loops, ServerLimits limits, Handler handler);
  ~Server();

  // bind_tcp() and listen_on() in one. Port 0 takes any free one. Returns the port.
  Result<std::uint16_t> listen_tcp(const std::string& address, std::uint16_t port);
  // Replaces a socket file that nobody listens on. Errors: conflict when somebody does.
  Status listen_unix(const std::string& path, unsigned mode);
  // Before listening: what is to be counted, which outlives the server.
  void count_requests(RequestCount& count) { count_ = &count; }
  // Listens on a bound socket. Returns its port.
  Result<std::uint16_t> listen_on(UniqueFd socket);

  // Closes the listeners and idle connections; the others close after their exchange. The caller waits for
  // connections() to reach 0, as long as it likes, and cuts off the rest.
  void stop_accepting();
  std::size_t connections() const { return connections_; }
  // Closes every connection, and gives them a moment to unwind.
  void cut_off();

 private:
  friend class Connection;
  friend class Exchange;
  class Listener;

  Loops& loops_;
  const ServerLimits limits_;
  const Handler handler_;
  RequestCount* count_ = nullptr;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::atomic<std::size_t> listeners_open_{0};
  std::atomic<std::size_t> connections_{0};
  std::atomic<bool> draining_{false};
  std::atomic<bool> cutting_{false};
};

// A TCP socket bound to an IP address, not listening yet. Errors: conflict when the port is taken, invalid_argument.
Result<UniqueFd> bind_tcp(const std::string& address, std::uint16_t port);

// "127.0.0.1:8080" or "[::1]:8080" taken apart. Errors: invalid_argument.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};
Result<HostPort> parse_host_port(std::string_view text);

// How the server works on one client. Public only for Exchange's templates.
class Connection : public Watched, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, Loop& loop, Socket socket, Peer peer);
  ~Connection() override;
  Task<> run();

 private:
  friend class Exchange;

  void on_sweep(TimePoint now) override;
  Task<bool> read_request();
  Task<Status> fill();
  Task<> linger();
  void close();
  void extend(std::chrono::seconds by) { deadline_ = std::chrono::steady_clock::now() + by; }
  void begin_write(TimePoint exchange_deadline) {
    write_deadline_ = std::min(exchange_deadline, std::chrono::steady_clock::now() + server_.limits_.stall_wait_max);
  }
  // Between two writes the client may be waiting for a function that thinks: no bound of the server's holds then.
  void end_write() { write_deadline_ = TimePoint::max(); }
  void check_client(TimePoint now);
  void count_begun();
  void count_ended();

  Server& server_;
  Loop& loop_;
  Socket socket_;
  const Peer peer_;
  MessageReader<true> reader_;
  TimePoint deadline_ = TimePoint::max();        // of reading
  TimePoint write_deadline_ = TimePoint::max();  // of the write that waits
  TimePoint exchange_began_{};
  Exchange* exchange_ = nullptr;
  bool idle_ = true;
  bool reading_ = false;
  bool timed_out_ = false;
  bool counted_ = false;  // as begun
};

}  // namespace thaw::http

#include "http/server_write.h"
