// Reads one HTTP/1.1 message after another from a byte stream: first the head, whole, then the body in pieces.
//
// Beast's basic_parser does the parsing; this class keeps the bytes. Nothing is copied: the head's views and the body's
// pieces point into the buffer. The head stays where it is until next_message(), because forwarding reads its fields
// while the body streams through the rest of the buffer.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"

namespace thaw::http {

inline constexpr std::size_t kFirstBufferBytes = 8192;
inline constexpr std::size_t kBodyBufferBytes = 65536;
// Space that is left behind a head for the first bytes of its body.
inline constexpr std::size_t kBodyRoomBytes = 2048;
inline constexpr std::size_t kFieldsMax = 200;
// Trailers of a chunked body, names and values together; keep_unparsed() bounds what framing may take at all.
inline constexpr std::size_t kTrailersMax = 32;
inline constexpr std::size_t kTrailerBytesMax = kBodyBufferBytes / 2;

enum class Progress {
  need_bytes,  // read from the stream into prepare(), then commit()
  ready,       // the head, or a piece of the body, is there
  end,         // the message is complete
  failed,      // see error()
};

template <bool kIsRequest>
class MessageReader {
 public:
  using Head = std::conditional_t<kIsRequest, RequestHead, ResponseHead>;

  explicit MessageReader(std::size_t header_bytes_max) : header_bytes_max_(header_bytes_max) { next_message(); }

  // Where the stream's next bytes go. Never empty after need_bytes.
  boost::asio::mutable_buffer prepare() {
    if (!head_done_) {
      make_head_room();
      return {buffer_.get() + filled_, capacity_ - filled_};
    }
    // A body that may be short gets its first bytes behind the head, without another allocation.
    if (body_buffer_ == nullptr && fits_behind_head() && body_filled_ == 0) {
      used_behind_head_ = true;
      return {buffer_.get() + head_end_, capacity_ - head_end_};
    }
    if (body_buffer_ == nullptr) body_buffer_ = std::make_unique_for_overwrite<char[]>(kBodyBufferBytes);
    return {body_buffer_.get() + body_filled_, kBodyBufferBytes - body_filled_};
  }

  void commit(std::size_t count) {
    if (!head_done_) {
      filled_ += count;
    } else if (body_buffer_ != nullptr) {
      unparsed_ = {body_buffer_.get(), body_filled_ + count};
      body_filled_ = 0;
    } else {
      unparsed_ = {buffer_.get() + head_end_, count};
    }
  }

  // The stream has ended: complete for a message that lasts until then, failed for one that is cut short.
  Progress commit_end() {
    if (!head_done_) return Progress::failed;
    boost::beast::error_code error;
    if (!parser_->is_done()) parser_->put_eof(error);
    if (error) return fail("the connection ended in the middle of a message");
    return Progress::end;
  }

  Progress read_head() {
    if (head_done_) return Progress::ready;
    if (filled_ == 0) return Progress::need_bytes;
    // The parser would keep views into a buffer that still grows, so it gets the head only once it is whole.
    constexpr std::string_view kEnd = "\r\n\r\n";
    const std::string_view bytes(buffer_.get(), filled_);
    // Something else entirely, such as a TLS handshake, must not wait for an end that never comes.
    if ((bytes[0] | 0x20) < 'a' || (bytes[0] | 0x20) > 'z') return fail("it begins with no method");
    const bool whole = bytes.find(kEnd, searched_) != std::string_view::npos;
    searched_ = filled_ < kEnd.size() ? 0 : filled_ - kEnd.size() + 1;
    if (!whole) {
      if (filled_ >= header_bytes_max_) return fail_too_large();
      return Progress::need_bytes;
    }
    boost::beast::error_code error;
    const std::size_t used = parser_->put(boost::asio::const_buffer(buffer_.get(), filled_), error);
    if (error) {
      if (error == boost::beast::http::error::header_limit) return fail_too_large();
      return fail(error.message());
    }
    if (head_.fields.size() > kFieldsMax) return fail_too_large();
    // Such a body has no end that could be found (RFC 9112, section 6.3).
    if (kIsRequest && !parser_->chunked() && head_.fields.has("transfer-encoding")) {
      return fail("the last Transfer-Encoding is not chunked");
    }
    head_done_ = true;
    head_end_ = used;
    unparsed_ = {buffer_.get() + used, filled_ - used};
    filled_ = used;
    describe_head();
    parser_->eager(true);
    return Progress::ready;
  }

  // ready: piece is set, and stays valid until the next call. Parses only what has been committed.
  Progress read_body(std::string_view& piece) {
    for (;;) {
      if (next_piece_ < pieces_.size()) {
        piece = pieces_[next_piece_++];
        return Progress::ready;
      }
      pieces_.clear();
      next_piece_ = 0;
      if (parser_->is_done()) return Progress::end;
      if (unparsed_.empty()) return Progress::need_bytes;
      boost::beast::error_code error;
      const std::size_t used = parser_->put(boost::asio::const_buffer(unparsed_.data(), unparsed_.size()), error);
      unparsed_.remove_prefix(used);
      if (trailers_too_large_) {
        return fail("the trailers are larger than " + std::to_string(kTrailerBytesMax) + " bytes or more than " +
                    std::to_string(kTrailersMax));
      }
      if (error && error != boost::beast::http::error::need_more) return fail(error.message());
      if (pieces_.empty() && !parser_->is_done()) {
        if (!keep_unparsed()) return fail_too_large();
        return Progress::need_bytes;
      }
    }
  }

  // The response answers a HEAD request, or its status allows no body.
  void expect_no_body() { parser_->skip(true); }

  bool head_done() const { return head_done_; }
  bool done() const { return head_done_ && next_piece_ >= pieces_.size() && parser_->is_done(); }
  // Whether bytes of the message have come at all.
  bool started() const { return filled_ != 0; }
  // Whether bytes beyond the message have come (a pipelined request).
  bool has_surplus() const { return done() && !unparsed_.empty(); }
  const Head& head() const { return head_; }
  // The fields behind a chunked body, once that is done.
  const Fields& trailers() const { return trailers_; }
  const std::string& error() const { return error_; }
  bool head_too_large() const { return head_too_large_; }

  // Makes ready for the next message; surplus bytes become its beginning.
  void next_message() {
    const std::size_t surplus = unparsed_.size();
    if (surplus > 0) {
      reserve(surplus + kBodyRoomBytes);
      std::memmove(buffer_.get(), unparsed_.data(), surplus);
    }
    if (surplus == 0 && capacity_ > kFirstBufferBytes) {
      // An idle connection must not keep the memory of its largest head.
      buffer_.reset();
      capacity_ = 0;
    }
    filled_ = surplus;
    searched_ = 0;
    unparsed_ = {};
    head_end_ = body_filled_ = 0;
    head_done_ = head_too_large_ = used_behind_head_ = false;
    head_.fields.clear();
    pieces_.clear();
    next_piece_ = 0;
    folded_.clear();
    trailers_.clear();
    trailer_texts_.clear();
    trailer_bytes_ = 0;
    trailers_too_large_ = false;
    body_buffer_.reset();
    parser_.emplace(*this);
    parser_->header_limit(static_cast<std::uint32_t>(header_bytes_max_));
    parser_->body_limit(boost::none);
  }

 private:
  class Parser : public boost::beast::http::basic_parser<kIsRequest> {
   public:
    explicit Parser(MessageReader& reader) : reader_(reader) {}

   private:
    using error_code = boost::beast::error_code;
    using view = boost::beast::string_view;
    using verb = boost::beast::http::verb;
    using field = boost::beast::http::field;

    void on_request_impl(verb, view method, view target, int version, error_code&) override {
      if constexpr (kIsRequest) {
        reader_.head_.method = reader_.kept(method);
        reader_.head_.target = reader_.kept(target);
        reader_.head_.http_1_0 = version < 11;
      }
    }
    void on_response_impl(int status, view reason, int, error_code&) override {
      if constexpr (!kIsRequest) {
        reader_.head_.status = status;
        reader_.head_.reason = reader_.kept(reason);
      }
    }
    void on_field_impl(field, view name, view value, error_code&) override {
      if (reader_.head_done_) return reader_.add_trailer(name, value);
      reader_.head_.fields.add(reader_.kept(name), reader_.kept(value));
    }
    void on_header_impl(error_code&) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
    std::size_t on_body_impl(view body, error_code&) override {
      reader_.pieces_.emplace_back(body.data(), body.size());
      return body.size();
    }
    void on_chunk_header_impl(std::uint64_t, view, error_code&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t, view body, error_code&) override {
      reader_.pieces_.emplace_back(body.data(), body.size());
      return body.size();
    }
    void on_finish_impl(error_code&) override {}

    MessageReader& reader_;
  };

  // A view that stays valid: Beast hands out a temporary for a field that it unfolded from several lines.
  std::string_view kept(boost::beast::string_view view) {
    const char* const begin = buffer_.get();
    if (view.data() >= begin && view.data() + view.size() <= begin + filled_) return {view.data(), view.size()};
    return folded_.emplace_back(view.data(), view.size());
  }

  // A copy: its bytes lie in a buffer that the next piece overwrites. Thaw forwards none.
  void add_trailer(std::string_view name, std::string_view value) {
    trailer_bytes_ += name.size() + value.size();
    trailers_too_large_ = trailer_bytes_ > kTrailerBytesMax || trailers_.size() >= kTrailersMax;
    if (trailers_too_large_) return;
    const std::string& kept_name = trailer_texts_.emplace_back(name);
    trailers_.add(kept_name, trailer_texts_.emplace_back(value));
  }

  void describe_head() {
    head_.keep_alive = parser_->keep_alive();
    head_.chunked = parser_->chunked();
    head_.content_length.reset();
    if (const auto length = parser_->content_length()) head_.content_length = *length;
  }

  bool fits_behind_head() const {
    const std::size_t room = capacity_ - head_end_;
    if (room < kBodyRoomBytes || used_behind_head_) return false;
    const auto left = parser_->content_length_remaining();
    return !left || *left <= room;
  }

  void make_head_room() {
    if (capacity_ - filled_ < kBodyRoomBytes) reserve(capacity_ == 0 ? kFirstBufferBytes : capacity_ * 2);
  }

  void reserve(std::size_t size) {
    size = std::max(size, kFirstBufferBytes);
    if (size <= capacity_) return;
    auto grown = std::make_unique_for_overwrite<char[]>(size);
    if (filled_ > 0) std::memcpy(grown.get(), buffer_.get(), filled_);
    if (!unparsed_.empty() && head_done_) {
      std::memcpy(grown.get(), unparsed_.data(), unparsed_.size());
      unparsed_ = {grown.get(), unparsed_.size()};
    }
    buffer_ = std::move(grown);
    capacity_ = size;
  }

  // Moves a cut-off piece of framing (a chunk header, a trailer) to the front of the body buffer, to be read on.
  bool keep_unparsed() {
    if (unparsed_.empty()) return true;
    if (unparsed_.size() > kBodyBufferBytes / 2) return false;
    if (body_buffer_ == nullptr) body_buffer_ = std::make_unique_for_overwrite<char[]>(kBodyBufferBytes);
    std::memmove(body_buffer_.get(), unparsed_.data(), unparsed_.size());
    body_filled_ = unparsed_.size();
    unparsed_ = {};
    return true;
  }

  Progress fail(std::string message) {
    error_ = std::move(message);
    return Progress::failed;
  }
  Progress fail_too_large() {
    head_too_large_ = true;
    return fail("the header fields are larger than " + std::to_string(header_bytes_max_) + " bytes or more than " +
                std::to_string(kFieldsMax));
  }

  const std::size_t header_bytes_max_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t filled_ = 0;    // bytes of the head, and whatever came with it while it is incomplete
  std::size_t searched_ = 0;  // no end of the head lies before this
  std::size_t head_end_ = 0;  // where the head ends in buffer_
  std::unique_ptr<char[]> body_buffer_;
  std::size_t body_filled_ = 0;  // cut-off framing at the front of body_buffer_
  std::string_view unparsed_;    // committed bytes behind what has been parsed
  std::vector<std::string_view> pieces_;
  std::size_t next_piece_ = 0;
  std::deque<std::string> folded_;
  Fields trailers_;
  std::deque<std::string> trailer_texts_;  // what trailers_ views
  std::size_t trailer_bytes_ = 0;
  bool trailers_too_large_ = false;
  std::optional<Parser> parser_;
  Head head_;
  bool head_done_ = false;
  bool used_behind_head_ = false;
  bool head_too_large_ = false;
  std::string error_;
};

}  // namespace thaw::http
