#include "chat_stream.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <cstdio>

#include "api.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr std::size_t kEventBytesMax = 4 << 20;
constexpr std::size_t kErrorBytesMax = 2000;

double number_field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  boost::system::error_code failed;
  const double number = value != nullptr && value->is_number() ? value->to_number<double>(failed) : 0;
  return failed ? 0 : number;
}

Error no_chat(const char* why) {
  return {ErrorKind::unsupported, std::string("the function answers as no chat model does: ") + why, "Chat.NoChat"};
}

// {"error": {"message": …}} or {"error": "…"}.
std::string error_text(const json::value& error) {
  std::string text;
  if (error.is_string()) text = std::string(error.get_string());
  if (error.is_object()) text = text_field(error.get_object(), "message");
  return text.empty() ? "without a word of what" : text.substr(0, kErrorBytesMax);
}

std::string duration_text(std::chrono::microseconds duration) {
  char text[32];
  const double ms = static_cast<double>(duration.count()) / 1000;
  std::snprintf(text, sizeof text, ms < 1000 ? "%.0f ms" : "%.2f s", ms < 1000 ? ms : ms / 1000);
  return text;
}

}  // namespace

std::uint64_t ChatAnswer::tokens() const {
  if (const std::uint64_t counted = count_field(usage, "completion_tokens"); counted > 0) return counted;
  if (const std::uint64_t counted = count_field(timings, "predicted_n"); counted > 0) return counted;
  return pieces;
}

double ChatAnswer::tokens_per_second() const {
  if (const double measured = number_field(timings, "predicted_per_second"); measured > 0) return measured;
  if (!to_first_piece || tokens() < 2 || took <= *to_first_piece) return 0;
  const std::chrono::duration<double> writing = took - *to_first_piece;
  return static_cast<double>(tokens() - 1) / writing.count();
}

std::string stats_line(const ChatAnswer& answer) {
  std::string line = std::to_string(answer.tokens()) + (answer.tokens() == 1 ? " token" : " tokens");
  if (const double speed = answer.tokens_per_second(); speed > 0) {
    char text[48];
    std::snprintf(text, sizeof text, ", %.1f tokens/s", speed);
    line += text;
  }
  if (answer.to_first_piece) line += ", first token after " + duration_text(*answer.to_first_piece);
  return line;
}

ChatStream::ChatStream(OnPiece on_piece, Clock::time_point sent)
    : on_piece_(std::move(on_piece)), sent_(sent), parser_(kEventBytesMax) {}

Status ChatStream::feed(std::string_view bytes, Clock::time_point now) {
  return parser_.feed(bytes, [&](const http::StreamEvent& event) { return take_event(event, now); });
}

Status ChatStream::take_event(const http::StreamEvent& event, Clock::time_point now) {
  if (event.data == "[DONE]") {
    done_ = true;
    return {};
  }
  boost::system::error_code failed;
  const json::value value = json::parse(event.data, failed);
  if (failed || !value.is_object()) return no_chat("an event of its stream is no JSON object");
  return take_object(value.get_object(), "delta", now);
}

Status ChatStream::take_whole(std::string_view body, Clock::time_point now) {
  boost::system::error_code failed;
  const json::value value = json::parse(body, failed);
  if (failed || !value.is_object() || !value.get_object().contains("choices"))
    return no_chat("its answer has no choices");
  RETURN_IF_ERROR(take_object(value.get_object(), "message", now));
  done_ = true;
  return {};
}

// A chunk of a stream, or a whole answer: they differ in the key that the text stands under.
Status ChatStream::take_object(const json::object& object, const char* message_key, Clock::time_point now) {
  if (const json::value* error = object.if_contains("error"); error != nullptr && !error->is_null()) {
    return Error{ErrorKind::function_failed, "the model's server failed: " + error_text(*error), "Chat.Failed"};
  }
  if (const json::object& usage = object_field(object, "usage"); !usage.empty()) answer_.usage = usage;
  if (const json::object& timings = object_field(object, "timings"); !timings.empty()) answer_.timings = timings;
  const json::value* choices = object.if_contains("choices");
  if (choices == nullptr || !choices->is_array() || choices->get_array().empty()) return {};
  const json::value& first = choices->get_array().front();
  if (!first.is_object()) return no_chat("a choice is no JSON object");
  const json::object& message = object_field(first.get_object(), message_key);
  RETURN_IF_ERROR(take_piece(PieceKind::reasoning, text_field(message, "reasoning_content"), now));
  RETURN_IF_ERROR(take_piece(PieceKind::text, text_field(message, "content"), now));
  if (std::string reason = text_field(first.get_object(), "finish_reason"); !reason.empty())
    answer_.finish_reason = std::move(reason);
  return {};
}

Status ChatStream::take_piece(PieceKind kind, std::string_view text, Clock::time_point now) {
  if (text.empty()) return {};
  if (!answer_.to_first_piece)
    answer_.to_first_piece = std::chrono::duration_cast<std::chrono::microseconds>(now - sent_);
  ++answer_.pieces;
  if (kind == PieceKind::text) {
    if (answer_.text.size() + text.size() > kAnswerBytesMax) {
      return Error{ErrorKind::too_large, "the answer is larger than " + std::to_string(kAnswerBytesMax >> 20) + " MB"};
    }
    answer_.text += text;
  }
  on_piece_(kind, text);
  return {};
}

ChatAnswer ChatStream::finish(Clock::time_point now) && {
  answer_.took = std::chrono::duration_cast<std::chrono::microseconds>(now - sent_);
  return std::move(answer_);
}

}  // namespace thaw::cli
