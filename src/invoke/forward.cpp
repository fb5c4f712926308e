#include "invoke/forward.h"

#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <charconv>

namespace thaw::invoke {
namespace {

using http::Task;

// Body bytes up to this size are copied behind the head, so that a small exchange is one write each way.
constexpr std::size_t kCopyBytesMax = 16384;

bool is_dropped_from_request(std::string_view name) {
  return http::is_hop_by_hop(name) || http::iequals(name, "expect") || http::iequals(name, "content-length") ||
         http::iequals(name, "x-forwarded-for") || http::iequals(name, "x-forwarded-prefix") ||
         http::iequals(name, "x-amzn-requestid") || http::iequals(name, kHopsField);
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

template <class Integer>
void append_number(std::string& out, Integer value, int base = 10) {
  char digits[24];
  out.append(digits, std::to_chars(digits, digits + sizeof(digits), value, base).ptr);
}

void append_chunk(std::string& out, std::string_view piece) {
  append_number(out, piece.size(), 16);
  out.append("\r\n").append(piece).append("\r\n");
}

// One exchange on its way through. Lives in forward()'s frame.
class Passage {
 public:
  Passage(http::Exchange& exchange, http::ClientConnection& upstream, const ForwardRequest& request)
      : exchange_(exchange), upstream_(upstream), request_(request) {}

  Task<ForwardOutcome> run() {
    upstream_.begin_exchange(request_.deadline);
    if (exchange_.request().method == "HEAD") upstream_.expect_no_body();
    exchange_.set_on_client_gone([this] { upstream_.abort(); });
    exchange_.set_write_deadline(request_.deadline);
    write_request_head();
    Status status = take_waiting_body();
    if (status.ok()) {
      boost::asio::const_buffer rest = asio_buffer(out_);
      rest += upstream_.send_now(rest);
      if (rest.size() > 0) status = co_await upstream_.send(rest);
    }
    if (status.ok() && exchange_.body_done() && body_left_.empty()) {
      body_is_sent();
      status = co_await download();
    } else if (status.ok()) {
      using namespace boost::asio::experimental::awaitable_operators;
      // The download's end decides; the upload is cancelled when it is still going on then.
      auto done = co_await (download() || upload());
      status = done.index() == 0 ? std::get<0>(std::move(done)) : Status(internal_error("the upload ended first"));
    }
    exchange_.set_on_client_gone({});
    exchange_.set_write_deadline(http::TimePoint::max());
    outcome_.client_gone = exchange_.client_gone();
    outcome_.may_retry = retryable(status) && exchange_.body_done() && !body_sent_ && !upstream_.answered();
    outcome_.status = std::move(status);
    if (!outcome_.status.ok() && outcome_.answered) {
      exchange_.close_after();
      if (ends_with_connection_) exchange_.reset_after();
    }
    co_return std::move(outcome_);
  }

 private:
  static boost::asio::const_buffer asio_buffer(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
  static bool retryable(const Status& status) { return !status.ok() && status.error().kind == ErrorKind::unavailable; }

  void write_request_head() {
    const http::RequestHead& head = exchange_.request();
    out_.reserve(1024);
    out_.append(head.method).append(" ").append(request_.target).append(" HTTP/1.1\r\n");
    const std::string_view connection = head.fields.find("connection");
    for (const http::Field& field : head.fields) {
      if (is_dropped_from_request(field.name)) continue;
      if (!connection.empty() && http::has_token(connection, field.name)) continue;
      append_field(out_, field.name, field.value);
    }
    if (!head.fields.has("host")) append_field(out_, "Host", "localhost");
    if (request_.body || head.content_length) {
      out_.append("Content-Length: ");
      append_number(out_, request_.body ? request_.body->size() : *head.content_length);
      out_.append("\r\n");
    } else if (head.chunked) {
      out_.append("Transfer-Encoding: chunked\r\n");
    }
    const std::string_view before = head.fields.find("x-forwarded-for");
    out_.append("X-Forwarded-For: ").append(before).append(before.empty() ? "" : ", ");
    out_.append(exchange_.peer().address.empty() ? "127.0.0.1" : exchange_.peer().address).append("\r\n");
    if (!head.fields.has("x-forwarded-proto")) append_field(out_, "X-Forwarded-Proto", "http");
    if (!request_.prefix.empty()) append_field(out_, "X-Forwarded-Prefix", request_.prefix);
    append_field(out_, "x-amzn-requestid", request_.request_id);
    if (request_.hops > 0) {
      out_.append(kHopsField).append(": ");
      append_number(out_, request_.hops);
      out_.append("\r\n");
    }
    out_.append("\r\n");
  }

  // What of the body is here already goes out with the head.
  Status take_waiting_body() {
    if (request_.body) {
      body_sent_ = true;
      body_left_ = *request_.body;
      if (body_left_.size() <= kCopyBytesMax) out_.append(std::exchange(body_left_, {}));
      return {};
    }
    const bool chunked = exchange_.request().chunked;
    while (out_.size() < kCopyBytesMax) {
      ASSIGN_OR_RETURN(const std::string_view piece, exchange_.read_body_now());
      if (piece.empty()) break;
      body_sent_ = true;
      if (chunked) {
        append_chunk(out_, piece);
      } else {
        out_.append(piece);
      }
    }
    if (chunked && exchange_.body_done()) out_.append("0\r\n\r\n");
    return {};
  }

  // Never returns by itself once the body is through: download() decides when the exchange is over.
  Task<> upload() {
    if (request_.body) {
      (void)co_await upstream_.send(asio_buffer(body_left_));  // as below, download() sees what is wrong
      body_is_sent();
    } else {
      co_await upload_from_client();
    }
    boost::asio::basic_waitable_timer<std::chrono::steady_clock, boost::asio::wait_traits<std::chrono::steady_clock>,
                                      http::Executor>
        forever(exchange_.loop().executor(), http::TimePoint::max());
    boost::system::error_code ignored;
    co_await forever.async_wait(boost::asio::redirect_error(http::use_task, ignored));
  }

  void body_is_sent() {
    if (request_.on_body_sent) request_.on_body_sent();
  }

  Task<> upload_from_client() {
    const bool chunked = exchange_.request().chunked;
    for (;;) {
      auto piece = co_await exchange_.read_body();
      if (!piece.ok()) {
        upload_error_ = std::move(piece).error();
        upstream_.abort();
        break;
      }
      body_sent_ = true;
      std::string frame;
      if (chunked) {
        append_number(frame, piece->size(), 16);
        frame.append("\r\n");
      }
      const std::array<boost::asio::const_buffer, 3> buffers = {asio_buffer(frame), asio_buffer(*piece),
                                                                asio_buffer(chunked ? "\r\n" : "")};
      const Status sent = co_await upstream_.send(buffers);
      if (!sent.ok() || piece->empty()) break;  // a function may answer without reading all; download() sees it
    }
  }

  Task<Status> download() {
    auto head = co_await upstream_.read_head();
    if (!head.ok()) co_return upload_error_ ? *std::move(upload_error_) : std::move(head).error();
    write_response_head(**head);
    const bool head_only = exchange_.request().method == "HEAD";
    for (;;) {
      // Everything that has come goes out in one write; then wait for more.
      while (out_.size() < kCopyBytesMax) {
        auto piece = upstream_.read_body_now();
        if (!piece.ok()) co_return std::move(piece).error();
        if (piece->empty()) break;
        if (piece->size() >= kCopyBytesMax) {
          if (auto sent = co_await write_large(*piece); !sent.ok()) co_return sent;
        } else if (chunk_response_) {
          append_chunk(out_, *piece);
        } else {
          out_.append(*piece);
        }
      }
      const bool done = upstream_.body_done();
      if (done && chunk_response_ && !head_only) out_.append("0\r\n\r\n");
      if (!out_.empty()) {
        outcome_.answered = true;
        exchange_.mark_responded();
        boost::asio::const_buffer rest = asio_buffer(out_);
        rest += exchange_.write_now(rest);
        if (rest.size() > 0) {
          if (auto sent = co_await exchange_.write_raw(rest); !sent.ok()) co_return sent;
        }
        out_.clear();
      }
      if (done) co_return Status();
      auto piece = co_await upstream_.read_body();
      if (!piece.ok()) co_return std::move(piece).error();
      if (piece->size() >= kCopyBytesMax) {
        if (auto sent = co_await write_large(*piece); !sent.ok()) co_return sent;
      } else if (!piece->empty()) {
        if (chunk_response_) {
          append_chunk(out_, *piece);
        } else {
          out_.append(*piece);
        }
      }
    }
  }

  void write_response_head(const http::ResponseHead& head) {
    out_.clear();
    outcome_.http_status = head.status;
    const bool bodyless = exchange_.request().method == "HEAD" || head.status == 204 || head.status == 304;
    const bool known_length = head.content_length.has_value() || bodyless;
    chunk_response_ = !known_length && !exchange_.request().http_1_0;
    ends_with_connection_ = !known_length && exchange_.request().http_1_0;
    if (ends_with_connection_) exchange_.close_after();
    if (!exchange_.body_done()) exchange_.close_after();
    exchange_.begin_head(out_, head.status, head.reason,
                         head.fields.has("date") ? http::Exchange::DateField::omit : http::Exchange::DateField::add);
    const std::string_view connection = head.fields.find("connection");
    for (const http::Field& field : head.fields) {
      if (http::is_hop_by_hop(field.name) || http::iequals(field.name, "x-amzn-requestid")) continue;
      if (!request_.id_field.empty() && http::iequals(field.name, request_.id_field)) continue;
      if (is_withheld(field.name)) continue;
      if (!connection.empty() && http::has_token(connection, field.name)) continue;
      append_field(out_, field.name, field.value);
    }
    if (chunk_response_) out_.append("Transfer-Encoding: chunked\r\n");
    append_field(out_, "x-amzn-requestid", request_.request_id);
    if (!request_.id_field.empty()) append_field(out_, request_.id_field, request_.request_id);
    out_.append("\r\n");
  }

  bool is_withheld(std::string_view name) const {
    const std::string_view prefix = request_.withheld;
    return !prefix.empty() && http::iequals(name.substr(0, prefix.size()), prefix);
  }

  Task<Status> write_large(std::string_view piece) {
    if (chunk_response_) {
      append_number(out_, piece.size(), 16);
      out_.append("\r\n");
    }
    outcome_.answered = true;
    exchange_.mark_responded();
    const std::array<boost::asio::const_buffer, 3> buffers = {asio_buffer(out_), asio_buffer(piece),
                                                              asio_buffer(chunk_response_ ? "\r\n" : "")};
    auto sent = co_await exchange_.write_raw(buffers);
    out_.clear();
    co_return sent;
  }

  http::Exchange& exchange_;
  http::ClientConnection& upstream_;
  const ForwardRequest& request_;
  ForwardOutcome outcome_;
  std::string out_;
  std::optional<Error> upload_error_;
  std::string_view body_left_;  // of request_.body, behind what out_ has taken
  bool body_sent_ = false;
  bool chunk_response_ = false;
  bool ends_with_connection_ = false;  // the response has no other end
};

}  // namespace

Task<ForwardOutcome> forward(http::Exchange& exchange, http::ClientConnection& upstream, ForwardRequest request) {
  Passage passage(exchange, upstream, request);
  co_return co_await passage.run();
}

}  // namespace thaw::invoke
