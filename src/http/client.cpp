#include "http/client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace thaw::http {
namespace {

// A read of less may be a small write that the server's next one waits behind.
constexpr std::size_t kSmallReadBytes = 4096;

bool is_event_stream(const ResponseHead& head) {
  constexpr std::string_view kEventStream = "text/event-stream";
  return iequals(head.fields.find("content-type").substr(0, kEventStream.size()), kEventStream);
}

}  // namespace

ClientConnection::ClientConnection(Loop& loop, UniqueFd socket, std::size_t header_bytes_max)
    : loop_(&loop), socket_(loop.executor()), reader_(header_bytes_max) {
  boost::system::error_code ignored;
  socket_.assign(asio::generic::stream_protocol(AF_INET, 0), std::move(socket).release(), ignored);
  socket_.non_blocking(true, ignored);
}

ClientConnection::~ClientConnection() {
  if (watched_) loop_->unwatch(*this);
}

void ClientConnection::begin_exchange(TimePoint deadline) {
  deadline_ = deadline;
  last_read_bytes_ = 0;
  if (!std::exchange(watched_, true)) loop_->watch(*this);
}

void ClientConnection::attach(Loop& loop) {
  if (&loop == loop_) return;
  boost::system::error_code ignored;
  const int fd = socket_.release(ignored);
  socket_ = Socket(loop.executor());
  socket_.assign(asio::generic::stream_protocol(AF_INET, 0), fd, ignored);
  socket_.non_blocking(true, ignored);
  loop_ = &loop;
}

void ClientConnection::abort() {
  aborted_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void ClientConnection::on_sweep(TimePoint now) {
  if (now < deadline_ || !socket_.is_open()) return;
  timed_out_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
}

Error ClientConnection::failure(const boost::system::error_code& error) const {
  if (timed_out_) return {ErrorKind::timeout, "the deadline passed"};
  if (aborted_) return {ErrorKind::unavailable, "aborted"};
  return {ErrorKind::unavailable, error.message()};
}

Task<Status> ClientConnection::connect(const asio::ip::tcp::endpoint& server) {
  boost::system::error_code error;
  const asio::generic::stream_protocol::endpoint endpoint(server);
  co_await socket_.async_connect(endpoint, asio::redirect_error(use_task, error));
  if (error == asio::error::connection_aborted) {
    // What Linux says once after a refusal, before the same socket may try again.
    co_await socket_.async_connect(endpoint, asio::redirect_error(use_task, error));
  }
  if (error) co_return failure(error);
  co_return Status();
}

std::size_t ClientConnection::send_now(asio::const_buffer buffer) {
  boost::system::error_code ignored;
  return socket_.write_some(buffer, ignored);
}

Task<Status> ClientConnection::fill() {
  boost::system::error_code error;
  if (last_read_bytes_ > 0 && last_read_bytes_ < kSmallReadBytes) {
    // A server that writes head and body apart, with Nagle's algorithm on, holds the body back until the head is
    // acknowledged, and the kernel delays that by 40 ms (tcp(7), TCP_QUICKACK).
    const int on = 1;
    ::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
  }
  const std::size_t count = co_await socket_.async_read_some(reader_.prepare(), asio::redirect_error(use_task, error));
  if (!error) {
    last_read_bytes_ = count;
    reader_.commit(count);
    co_return Status();
  }
  if (error == asio::error::eof && reader_.head_done() && reader_.commit_end() == Progress::end) {
    ended_ = true;
    co_return Status();
  }
  co_return failure(error);
}

Task<Result<const ResponseHead*>> ClientConnection::read_head() {
  for (;;) {
    const Progress progress = reader_.read_head();
    if (progress == Progress::failed) {
      co_return Error{ErrorKind::function_failed, "the function's answer is not valid HTTP/1.1: " + reader_.error()};
    }
    if (progress == Progress::ready) {
      if (reader_.head().status >= 200) co_return &reader_.head();
      if (reader_.head().status == 101) {
        co_return Error{ErrorKind::function_failed, "the function switched protocols, which Thaw does not forward"};
      }
      reader_.next_message();
      if (no_body_) reader_.expect_no_body();
      continue;
    }
    if (auto filled = co_await fill(); !filled.ok()) co_return std::move(filled).error();
  }
}

Result<std::string_view> ClientConnection::read_body_now() {
  std::string_view piece;
  if (ended_ && reader_.done()) return piece;
  switch (reader_.read_body(piece)) {
    case Progress::ready:
      return piece;
    case Progress::failed:
      return Error{ErrorKind::function_failed, "the function's answer is not valid HTTP/1.1: " + reader_.error()};
    default:
      return std::string_view();
  }
}

Task<Result<std::string_view>> ClientConnection::read_body() {
  for (;;) {
    auto piece = read_body_now();
    if (!piece.ok() || !piece->empty() || body_done()) co_return piece;
    if (auto filled = co_await fill(); !filled.ok()) co_return std::move(filled).error();
  }
}

bool ClientConnection::next_exchange() {
  if (std::exchange(watched_, false)) loop_->unwatch(*this);
  // Servers close behind a stream of events although its head promised to keep the connection (llama-server does), and
  // then read what still comes without answering it: a request on such a connection would be lost.
  const bool reusable = !ended_ && !timed_out_ && !aborted_ && socket_.is_open() && reader_.head_done() &&
                        reader_.done() && reader_.head().keep_alive && !reader_.has_surplus() &&
                        !is_event_stream(reader_.head());
  if (!reusable) return false;
  reader_.next_message();
  no_body_ = false;
  idle_since_ = std::chrono::steady_clock::now();
  return true;
}

bool ClientConnection::still_open() const {
  char byte;
  const int fd = const_cast<Socket&>(socket_).native_handle();
  const ssize_t count = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace thaw::http
