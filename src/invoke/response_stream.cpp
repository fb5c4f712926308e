#include "invoke/response_stream.h"

#include <utility>

#include "http/awaited.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::invoke {
namespace {

// Of several that wait and become one.
constexpr std::size_t kPieceBytesMax = 64 << 10;

}  // namespace

void ResponseStream::add(Piece piece) {
  std::function<void(bool)> taker;
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || abandoned_) return;
    waiting_bytes_ += piece.bytes.size();
    // Many small ones become one: the bound holds for what they take, too.
    Piece* const last = pieces_.empty() ? nullptr : &pieces_.back();
    if (last != nullptr && !last->content_type && last->bytes.size() + piece.bytes.size() <= kPieceBytesMax) {
      last->bytes.append(piece.bytes);
    } else {
      pieces_.push_back(std::move(piece));
    }
    taker = std::exchange(on_piece_, {});
  }
  if (taker) taker(true);
}

void ResponseStream::begin(std::string content_type) {
  Piece piece;
  piece.content_type = std::move(content_type);
  add(std::move(piece));
}

http::Task<> ResponseStream::push(http::Loop& loop, std::string_view bytes) {
  Piece piece;
  piece.bytes = bytes;
  add(std::move(piece));
  co_await http::awaited<bool>(loop, [&](std::function<void(bool)> done) {
    {
      const std::lock_guard lock(mutex_);
      if (!closed_ && !abandoned_ && waiting_bytes_ >= kStreamWaitingBytesMax) {
        on_room_ = std::move(done);
        return;
      }
    }
    done(true);
  });
}

void ResponseStream::close() {
  std::function<void(bool)> pusher;
  std::function<void(bool)> taker;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    pusher = std::exchange(on_room_, {});
    taker = std::exchange(on_piece_, {});
  }
  if (pusher) pusher(true);
  if (taker) taker(true);
}

http::Task<std::optional<ResponseStream::Piece>> ResponseStream::next(http::Loop& loop) {
  co_await http::awaited<bool>(loop, [&](std::function<void(bool)> done) {
    {
      const std::lock_guard lock(mutex_);
      if (!closed_ && pieces_.empty()) {
        on_piece_ = std::move(done);
        return;
      }
    }
    done(true);
  });
  std::optional<Piece> piece;
  std::function<void(bool)> pusher;
  {
    const std::lock_guard lock(mutex_);
    if (!pieces_.empty()) {
      piece = std::move(pieces_.front());
      pieces_.pop_front();
      waiting_bytes_ -= piece->bytes.size();
    }
    if (waiting_bytes_ < kStreamWaitingBytesMax) pusher = std::exchange(on_room_, {});
  }
  if (pusher) pusher(true);
  co_return piece;
}

void ResponseStream::abandon() {
  std::function<void(bool)> pusher;
  {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
    pieces_.clear();
    waiting_bytes_ = 0;
    pusher = std::exchange(on_room_, {});
  }
  if (pusher) pusher(true);
}

}  // namespace thaw::invoke
