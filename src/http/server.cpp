#include "http/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <charconv>
#include <thread>

#include "base/sys.h"

namespace thaw::http {

using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol, Executor>;

// Unread request bytes that a closing connection still takes, so that the client can read the refusal.
constexpr std::uint64_t kLingerBytesMax = 256ULL << 20;
constexpr std::chrono::seconds kLingerWaitMax{10};
// How long an exchange runs before the client is looked at for having gone.
constexpr std::chrono::milliseconds kGoneCheckAfter{100};
constexpr std::chrono::milliseconds kAcceptRetryAfter{50};
constexpr int kBacklog = 4096;
// What connections that are cut off get to unwind.
constexpr std::chrono::milliseconds kCutWaitMax{500};
constexpr std::chrono::seconds kCloseWaitMax{10};

// ---- Connection -----------------------------------------------------------------------------------------------------

Connection::Connection(Server& server, Loop& loop, Socket socket, Peer peer)
    : server_(server),
      loop_(loop),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      reader_(server.limits_.header_bytes_max) {
  loop_.watch(*this);
}

void Connection::count_begun() {
  if (server_.count_ != nullptr && !std::exchange(counted_, true)) ++server_.count_->begun;
}

void Connection::count_ended() {
  if (std::exchange(counted_, false)) ++server_.count_->ended;
}

Connection::~Connection() {
  count_ended();
  loop_.unwatch(*this);
  --server_.connections_;
}

void Connection::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void Connection::on_sweep(TimePoint now) {
  if (!socket_.is_open()) return;
  if (server_.cutting_ || (server_.draining_ && idle_ && !reader_.started())) {
    close();
  } else if (now >= deadline_ || now >= write_deadline_) {
    timed_out_ = true;
    // A request head that never completes is answered nothing: there is nobody listening on the other side.
    close();
  } else if (exchange_ != nullptr) {
    check_client(now);
  }
}

void Connection::check_client(TimePoint now) {
  if (reading_ || exchange_->client_gone_ || now - exchange_began_ < kGoneCheckAfter) return;
  // Also when requests that were sent ahead are still unread.
  pollfd look{socket_.native_handle(), POLLRDHUP, 0};
  if (::poll(&look, 1, 0) <= 0 || (look.revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0) return;
  exchange_->client_gone_ = true;
  exchange_->close_ = true;
  if (exchange_->on_client_gone_) std::exchange(exchange_->on_client_gone_, {})();
}

Task<Status> Connection::fill() {
  boost::system::error_code error;
  reading_ = true;
  const std::size_t count = co_await socket_.async_read_some(reader_.prepare(), asio::redirect_error(use_task, error));
  reading_ = false;
  if (error) {
    if (timed_out_) co_return Error{ErrorKind::timeout, "the client sent nothing for too long", "Client.Stalled"};
    // Cancelled from here, by a response that ended before the request did: the client is still there.
    if (error == asio::error::operation_aborted) co_return Error{ErrorKind::internal, "reading was cancelled"};
    co_return Error{ErrorKind::unavailable, "the client closed the connection"};
  }
  reader_.commit(count);
  co_return Status();
}

// False when the connection is over.
Task<bool> Connection::read_request() {
  for (;;) {
    const bool was_started = reader_.started();
    if (was_started) count_begun();
    const Progress progress = reader_.read_head();
    if (progress == Progress::ready) co_return true;
    if (progress == Progress::failed) {
      const int status = reader_.head_too_large() ? 431 : 400;
      std::string head;
      std::string body =
          "{\"kind\":\"InvalidArgument\",\"message\":\"" +
          (status == 431 ? reader_.error() : std::string("the request is not valid HTTP/1.1: ") + reader_.error()) +
          "\"}\n";
      head =
          "HTTP/1.1 " + std::to_string(status) + " " + std::string(reason_phrase(status)) +
          "\r\nDate: " + loop_.date() +
          "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
          "\r\n\r\n" + body;
      boost::system::error_code error;
      extend(server_.limits_.stall_wait_max);
      co_await asio::async_write(socket_, asio::buffer(head), asio::redirect_error(use_task, error));
      if (!error) co_await linger();
      co_return false;
    }
    if (server_.draining_ && !was_started) co_return false;
    if (!(co_await fill()).ok()) co_return false;
    if (!was_started) extend(server_.limits_.header_wait_max);
  }
}

// Ends an exchange whose request was not read to its end. Closing with unread bytes makes TCP reset the connection, and
// the client may lose the response that says why; so they are read and dropped, within bounds.
Task<> Connection::linger() {
  boost::system::error_code error;
  socket_.shutdown(Socket::shutdown_send, error);
  if (error) co_return;
  const TimePoint until = std::chrono::steady_clock::now() + kLingerWaitMax;
  deadline_ = until;
  auto scratch = std::make_unique<char[]>(kBodyBufferBytes);
  std::uint64_t taken = 0;
  while (!error && taken < kLingerBytesMax) {
    taken += co_await socket_.async_read_some(asio::buffer(scratch.get(), kBodyBufferBytes),
                                              asio::redirect_error(use_task, error));
  }
}

Task<> Connection::run() {
  const auto self = shared_from_this();
  extend(server_.limits_.header_wait_max);
  for (;;) {
    idle_ = true;
    if (!co_await read_request()) break;
    idle_ = false;
    exchange_began_ = std::chrono::steady_clock::now();
    deadline_ = TimePoint::max();  // from here on the handler's own bounds hold, and each write's
    Exchange exchange(*this, reader_);
    exchange_ = &exchange;
    co_await server_.handler_(exchange);
    exchange_ = nullptr;
    if (!exchange.responded_) break;
    if (!reader_.done()) {
      if (!exchange.client_gone_ && !exchange.reset_) co_await linger();
      break;
    }
    if (!exchange.keep_alive()) break;
    reader_.next_message();
    extend(server_.limits_.keep_alive_wait_max);
    count_ended();
  }
  close();
}

// ---- Exchange -------------------------------------------------------------------------------------------------------

Exchange::Exchange(Connection& connection, MessageReader<true>& reader) : connection_(connection), reader_(reader) {}

const Peer& Exchange::peer() const { return connection_.peer_; }
Loop& Exchange::loop() const { return connection_.loop_; }

bool Exchange::keep_alive() const {
  return !close_ && !client_gone_ && request().keep_alive && !connection_.server_.draining_;
}

bool Exchange::set_body_bytes_max(std::uint64_t bytes_max) {
  body_bytes_max_ = bytes_max;
  return !request().content_length || *request().content_length <= bytes_max;
}

Task<Status> Exchange::send_continue_if_asked() {
  if (continue_sent_ || request().http_1_0 || !iequals(request().fields.find("expect"), "100-continue"))
    co_return Status();
  continue_sent_ = true;
  co_return co_await write_raw(asio::const_buffer("HTTP/1.1 100 Continue\r\n\r\n", 25));
}

void Exchange::reset_after() {
  close_ = reset_ = true;
  const linger at_once{1, 0};
  ::setsockopt(connection_.socket_.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

std::size_t Exchange::write_now(asio::const_buffer buffer) {
  boost::system::error_code ignored;
  return connection_.socket_.write_some(buffer, ignored);
}

void Exchange::restore_body(std::string body) {
  restored_body_ = std::move(body);
  restored_waits_ = !restored_body_.empty();
  body_bytes_ = 0;
  body_bytes_max_ = UINT64_MAX;
}

Result<std::string_view> Exchange::count_body(std::string_view piece) {
  body_bytes_ += piece.size();
  if (body_bytes_ <= body_bytes_max_) return piece;
  close_ = true;
  return Error{ErrorKind::too_large, "the request body is larger than " + std::to_string(body_bytes_max_) + " bytes"};
}

Result<std::string_view> Exchange::read_body_now() {
  if (std::exchange(restored_waits_, false)) return count_body(restored_body_);
  std::string_view piece;
  switch (reader_.read_body(piece)) {
    case Progress::ready:
      return count_body(piece);
    case Progress::failed:
      close_ = true;
      return invalid_argument("the request body is not valid HTTP/1.1: " + reader_.error());
    default:
      return std::string_view();
  }
}

Task<Result<std::string_view>> Exchange::read_body() {
  for (;;) {
    auto piece = read_body_now();
    if (!piece.ok() || !piece->empty() || reader_.done()) co_return piece;
    if (auto sent = co_await send_continue_if_asked(); !sent.ok()) co_return std::move(sent).error();
    connection_.extend(connection_.server_.limits_.stall_wait_max);
    auto filled = co_await connection_.fill();
    connection_.deadline_ = TimePoint::max();
    if (!filled.ok()) {
      close_ = true;
      client_gone_ = filled.error().kind == ErrorKind::unavailable;
      co_return std::move(filled).error();
    }
  }
}

Task<Result<std::string>> Exchange::read_whole_body(std::size_t bytes_max) {
  if (!set_body_bytes_max(bytes_max)) {
    close_ = true;
    co_return Error{ErrorKind::too_large, "the request body is larger than " + std::to_string(bytes_max) + " bytes"};
  }
  std::string body;
  for (;;) {
    auto piece = co_await read_body();
    if (!piece.ok()) co_return std::move(piece).error();
    if (piece->empty()) co_return body;
    body.append(*piece);
  }
}

void Exchange::begin_head(std::string& out, int status, std::string_view reason, DateField date) const {
  char number[8];
  const auto end = std::to_chars(number, number + sizeof(number), status).ptr;
  out.append("HTTP/1.1 ").append(number, end).append(" ").append(reason.empty() ? reason_phrase(status) : reason);
  if (date == DateField::add) out.append("\r\nDate: ").append(connection_.loop_.date());
  out.append("\r\n").append(own_fields_);
  if (!keep_alive()) {
    out.append("Connection: close\r\n");
  } else if (request().http_1_0) {
    out.append("Connection: keep-alive\r\n");
  }
}

Task<Status> Exchange::respond(Response response) {
  if (!reader_.done() && (request().content_length.value_or(1) > 0)) {
    // Unread body: what is here may be all of it.
    while (true) {
      auto piece = read_body_now();
      if (!piece.ok() || piece->empty()) break;
    }
    if (!reader_.done()) close_ = true;
  }
  scratch_.clear();
  begin_head(scratch_, response.status, {}, DateField::add);
  const bool bodyless = response.status == 204 || response.status == 304;
  if (!bodyless) {
    scratch_.append("Content-Type: ").append(response.content_type);
    scratch_.append("\r\nContent-Length: ").append(std::to_string(response.body.size())).append("\r\n");
  }
  scratch_.append(response.extra_fields).append("\r\n");
  responded_ = true;
  const bool with_body = !bodyless && request().method != "HEAD";
  const std::array<asio::const_buffer, 2> buffers = {
      asio::buffer(scratch_),
      with_body ? asio::buffer(response.body.data(), response.body.size()) : asio::const_buffer()};
  co_return co_await write_raw(buffers);
}

Task<Status> Exchange::start_stream(Response head) {
  if (!reader_.done()) close_ = true;
  chunked_ = !request().http_1_0;
  if (!chunked_) close_ = true;
  scratch_.clear();
  begin_head(scratch_, head.status, {}, DateField::add);
  scratch_.append("Content-Type: ").append(head.content_type).append("\r\n");
  if (chunked_) scratch_.append("Transfer-Encoding: chunked\r\n");
  scratch_.append(head.extra_fields).append("\r\n");
  responded_ = streaming_ = true;
  co_return co_await write_raw(asio::buffer(scratch_));
}

Task<Status> Exchange::write_stream(std::string_view piece) {
  if (piece.empty()) co_return Status();
  if (!chunked_) co_return co_await write_raw(asio::buffer(piece.data(), piece.size()));
  char size[24];
  const int count = std::snprintf(size, sizeof(size), "%zx\r\n", piece.size());
  const std::array<asio::const_buffer, 3> buffers = {asio::buffer(size, static_cast<std::size_t>(count)),
                                                     asio::buffer(piece.data(), piece.size()), asio::buffer("\r\n", 2)};
  co_return co_await write_raw(buffers);
}

Task<Status> Exchange::finish_stream() {
  if (!chunked_) co_return Status();
  co_return co_await write_raw(asio::const_buffer("0\r\n\r\n", 5));
}

// ---- Server ---------------------------------------------------------------------------------------------------------

class Server::Listener {
 public:
  Listener(Server& server, UniqueFd socket, std::string unix_path)
      : server_(server),
        unix_path_(std::move(unix_path)),
        acceptor_(server.loops_[0].executor(),
                  asio::generic::stream_protocol(unix_path_.empty() ? AF_INET : AF_UNIX, 0),
                  std::move(socket).release()),
        retry_(server.loops_[0].executor()) {
    accept();
  }

  void close() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    if (!unix_path_.empty()) ::unlink(unix_path_.c_str());
  }

 private:
  void accept() {
    Loop& loop = server_.loops_.next();
    acceptor_.async_accept(loop.executor(), [this, &loop](const boost::system::error_code& error, Socket socket) {
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) return;
      if (error) {
        // Out of descriptors, most likely: existing connections must end first.
        retry_.expires_after(kAcceptRetryAfter);
        retry_.async_wait([this](const boost::system::error_code& stopped) {
          if (!stopped) accept();
        });
        return;
      }
      if (server_.connections_ < server_.limits_.connections_max) serve(loop, std::move(socket));
      accept();
    });
  }

  void serve(Loop& loop, Socket socket) {
    ++server_.connections_;
    Peer peer = describe(socket);
    if (!peer.unix_socket) {
      const int on = 1;
      ::setsockopt(socket.native_handle(), IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof(on));
    }
    boost::system::error_code ignored;
    socket.non_blocking(true, ignored);
    asio::post(loop.executor(), [this, &loop, held = std::make_shared<Socket>(std::move(socket)), peer]() mutable {
      auto connection = std::make_shared<Connection>(server_, loop, std::move(*held), std::move(peer));
      asio::co_spawn(
          loop.executor(), [connection] { return connection->run(); }, asio::detached);
    });
  }

  static Peer describe(Socket& socket) {
    Peer peer;
    boost::system::error_code error;
    const auto remote = socket.remote_endpoint(error);
    const auto local = error ? remote : socket.local_endpoint(error);
    if (error) return peer;
    if (remote.protocol().family() == AF_UNIX) {
      peer.unix_socket = true;
      return peer;
    }
    asio::ip::tcp::endpoint from;
    asio::ip::tcp::endpoint to;
    std::memcpy(from.data(), remote.data(), std::min(from.capacity(), remote.size()));
    std::memcpy(to.data(), local.data(), std::min(to.capacity(), local.size()));
    peer.address = from.address().to_string();
    peer.port = from.port();
    peer.loopback = from.address().is_loopback() && to.address().is_loopback();
    return peer;
  }

  Server& server_;
  const std::string unix_path_;
  Acceptor acceptor_;
  asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor> retry_;
};

Server::Server(Loops& loops, ServerLimits limits, Handler handler)
    : loops_(loops), limits_(limits), handler_(std::move(handler)) {}

Server::~Server() {
  stop_accepting();
  cut_off();
  // A loop that runs closes them soon; when the loops have ended already, nobody else touches a listener any more.
  const auto until = std::chrono::steady_clock::now() + kCloseWaitMax;
  while (listeners_open_ > 0 && loops_.running() && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

Result<std::uint16_t> Server::listen_tcp(const std::string& address, std::uint16_t port) {
  ASSIGN_OR_RETURN(UniqueFd socket, bind_tcp(address, port));
  return listen_on(std::move(socket));
}

Result<UniqueFd> bind_tcp(const std::string& address, std::uint16_t port) {
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(address == "localhost" ? "127.0.0.1" : address, error);
  if (error) return invalid_argument("listen: \"" + address + "\" is not an IP address");
  const asio::ip::tcp::endpoint endpoint(ip, port);
  UniqueFd socket(::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return sys::errno_error("socket");
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(socket.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0) {
    Error failed = sys::errno_error("cannot listen on " + address + ":" + std::to_string(port));
    if (errno == EADDRINUSE) failed.kind = ErrorKind::conflict;
    return failed;
  }
  return socket;
}

Result<std::uint16_t> Server::listen_on(UniqueFd socket) {
  if (::listen(socket.get(), kBacklog) != 0) return sys::errno_error("listen");
  asio::ip::tcp::endpoint bound;
  socklen_t size = static_cast<socklen_t>(bound.capacity());
  if (::getsockname(socket.get(), bound.data(), &size) != 0) return sys::errno_error("getsockname");
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  listeners_.push_back(std::make_unique<Listener>(*this, std::move(socket), std::string()));
  ++listeners_open_;
  return bound.port();
}

Status Server::listen_unix(const std::string& path, unsigned mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return invalid_argument("the socket path " + path + " is longer than " +
                            std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return sys::errno_error("socket");
  const auto* const name = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket.get(), name, sizeof(address)) == 0) {
    return Error{ErrorKind::conflict, "another process listens on " + path};
  }
  ::unlink(path.c_str());
  socket = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid() || ::bind(socket.get(), name, sizeof(address)) != 0) return sys::errno_error(path);
  if (::chmod(path.c_str(), mode) != 0 || ::listen(socket.get(), kBacklog) != 0) return sys::errno_error(path);
  listeners_.push_back(std::make_unique<Listener>(*this, std::move(socket), path));
  ++listeners_open_;
  return {};
}

void Server::stop_accepting() {
  if (draining_.exchange(true)) return;
  for (auto& listener : listeners_) {
    asio::post(loops_[0].executor(), [this, target = listener.get()] {
      target->close();
      // One turn later: an accept that the close has cancelled looks at its listener once more.
      asio::post(loops_[0].executor(), [this] { --listeners_open_; });
    });
  }
}

void Server::cut_off() {
  cutting_ = true;
  const auto until = std::chrono::steady_clock::now() + kCutWaitMax;
  while (connections_ > 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

Result<HostPort> parse_host_port(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return invalid_argument("\"" + std::string(text) + "\" is not HOST:PORT");
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  HostPort parsed;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), parsed.port);
  if (error != std::errc() || end != port.data() + port.size() || host.empty()) {
    return invalid_argument("\"" + std::string(text) + "\" is not HOST:PORT with a port from 0 to 65535");
  }
  parsed.host = host;
  return parsed;
}

}  // namespace thaw::http
