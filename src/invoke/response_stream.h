// A streamed response between the Runtime API's connection, where the runtime sends it, and whoever takes it, on
// another loop: a bounded queue of pieces, so that a slow taker slows the runtime down ("Response streaming for Lambda
// functions", AWS Lambda Developer Guide).
//
//   runtime's side: begin(), push()…        taker's side: next()… until it gives nothing; abandon()
//   when the invocation is over: close()
//
// Ownership: shared by both sides. Threads: any; one coroutine at a time on each side.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "http/loop.h"

namespace thaw::invoke {

// Of pieces that wait; push() returns once there are less.
inline constexpr std::size_t kStreamWaitingBytesMax = 256 << 10;

class ResponseStream {
 public:
  struct Piece {
    // Set in the first piece alone, which has no bytes: the response's Content-Type, as the runtime has given it.
    std::optional<std::string> content_type;
    std::string bytes;
  };

  // The runtime's response begins. Once.
  void begin(std::string content_type);
  // Returns once there is room for more, or nobody takes it any more: then it is dropped.
  http::Task<> push(http::Loop& loop, std::string_view bytes);
  // No more pieces. What waits is still taken.
  void close();

  // The next piece; nothing once it is closed and all is taken.
  http::Task<std::optional<Piece>> next(http::Loop& loop);
  // What waits and what comes is dropped, without holding the runtime up.
  void abandon();

 private:
  void add(Piece piece);

  std::mutex mutex_;
  // Below: guarded by mutex_.
  std::deque<Piece> pieces_;
  std::size_t waiting_bytes_ = 0;
  std::function<void(bool)> on_room_;   // push() waits
  std::function<void(bool)> on_piece_;  // next() waits
  bool closed_ = false;
  bool abandoned_ = false;
};

}  // namespace thaw::invoke
