// One HTTP/1.1 connection to a server: the function inside an environment. Requests go one after another; bodies
// stream.
//
// The connection is made on a socket that somebody else made (inside the environment's network namespace) and that is
// not connected yet.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "http/loop.h"
#include "http/message_reader.h"

namespace thaw::http {

// Ownership: owns the socket. Threads: the loop it is attached to; attach() moves it to another loop while it is idle.
// Errors: unavailable when the server closes or refuses, timeout past the deadline, function_failed for bytes that are
// not HTTP. After an error the connection is of no further use.
class ClientConnection : public Watched {
 public:
  ClientConnection(Loop& loop, UniqueFd socket, std::size_t header_bytes_max);
  ~ClientConnection() override;

  Loop& loop() const { return *loop_; }
  // Only between exchanges, on the new loop's thread.
  void attach(Loop& loop);

  Task<Status> connect(const asio::ip::tcp::endpoint& server);
  // Begins an exchange, on the loop's thread: everything up to next_exchange() must be over by then.
  void begin_exchange(TimePoint deadline);
  // Ends the exchange from outside, on the loop's thread: pending operations fail with unavailable.
  void abort();

  // A request without a body in the answer (HEAD): to be said before send().
  void expect_no_body() {
    no_body_ = true;
    reader_.expect_no_body();
  }
  template <class Buffers>
  Task<Status> send(const Buffers& buffers);
  // As much as the socket takes without waiting: bytes written. Less than all, also on an error: send() the rest.
  std::size_t send_now(asio::const_buffer buffer);
  // The response's head; interim 1xx responses are passed over. Its views live until next_exchange().
  Task<Result<const ResponseHead*>> read_head();
  // The next piece of the body, decoded; empty at its end.
  Task<Result<std::string_view>> read_body();
  // The next piece if it has come already; empty when nothing has.
  Result<std::string_view> read_body_now();
  bool body_done() const { return reader_.done() || ended_; }
  // True once a byte of the current response has come.
  bool answered() const { return reader_.started(); }
  // Ends the exchange, on the loop's thread. Whether another one may follow; makes ready for it.
  bool next_exchange();
  // Whether the idle connection is still open, by a look at the socket that does not wait.
  bool still_open() const;
  // Since when it has been idle.
  TimePoint idle_since() const { return idle_since_; }

 private:
  void on_sweep(TimePoint now) override;
  Task<Status> fill();
  Error failure(const boost::system::error_code& error) const;

  Loop* loop_;
  Socket socket_;
  MessageReader<false> reader_;
  TimePoint deadline_ = TimePoint::max();
  TimePoint idle_since_{};
  bool timed_out_ = false;
  bool aborted_ = false;
  std::size_t last_read_bytes_ = 0;
  bool watched_ = false;
  bool no_body_ = false;
  bool ended_ = false;
};

}  // namespace thaw::http

#include "http/client_send.h"
