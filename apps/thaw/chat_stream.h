// One answer of /v1/chat/completions, put together from its stream.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/event_stream.h"

namespace thaw::cli {

// More than any model writes; what a server sends beyond it ends the answer.
inline constexpr std::size_t kAnswerBytesMax = 16 << 20;

struct ChatAnswer {
  std::string text;
  std::string finish_reason;         // "stop", "length", …; empty when the answer broke off
  boost::json::object usage = {};    // as the server sent them; empty when it did not
  boost::json::object timings = {};  // llama-server's
  std::uint64_t pieces = 0;          // that text came in
  std::optional<std::chrono::microseconds> to_first_piece = {};
  std::chrono::microseconds took{0};

  // Of usage, else of timings, else as many as there were pieces.
  std::uint64_t tokens() const;
  // While it was writing: the server's own figure, else from the first piece to the end; 0 when neither says.
  double tokens_per_second() const;
};

enum class PieceKind : std::uint8_t { text, reasoning };
using OnPiece = std::function<void(PieceKind kind, std::string_view text)>;

// Ownership: borrows on_piece's things. Threads: one at a time.
// Errors: function_failed for an error that the server sends in the stream, unsupported for what is no stream of a chat
// model, too_large.
class ChatStream {
 public:
  using Clock = std::chrono::steady_clock;

  // sent: when the request went out.
  ChatStream(OnPiece on_piece, Clock::time_point sent);

  // Bytes of a text/event-stream.
  Status feed(std::string_view bytes, Clock::time_point now);
  // The whole answer of a server that does not stream, in JSON.
  Status take_whole(std::string_view body, Clock::time_point now);
  // Whether the answer came to its end.
  bool complete() const { return done_ || !answer_.finish_reason.empty(); }
  ChatAnswer finish(Clock::time_point now) &&;

 private:
  Status take_event(const http::StreamEvent& event, Clock::time_point now);
  Status take_object(const boost::json::object& object, const char* message_key, Clock::time_point now);
  Status take_piece(PieceKind kind, std::string_view text, Clock::time_point now);

  OnPiece on_piece_;
  const Clock::time_point sent_;
  http::EventStreamParser parser_;
  ChatAnswer answer_;
  bool done_ = false;
};

// "42 tokens, 31.5 tokens/s, first token after 120 ms".
std::string stats_line(const ChatAnswer& answer);

}  // namespace thaw::cli
