#include "events/queued_event.h"

#include <algorithm>
#include <boost/json.hpp>

namespace thaw::events {
namespace {

namespace json = boost::json;

constexpr std::int64_t kFormat = 1;
// Targets that are the same so far share a lane.
constexpr std::size_t kLaneBytesMax = 128;
constexpr std::string_view kInvoke = "invoke";
constexpr std::string_view kDeliver = "deliver";

Error unreadable(std::string what) { return {ErrorKind::corrupt, "a stored event is unreadable: " + std::move(what)}; }

}  // namespace

std::string lane_of_function(std::string_view name) {
  std::string lane(name);
  std::transform(lane.begin(), lane.end(), lane.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return lane;
}

std::string lane_of(const QueuedEvent& event) {
  if (event.kind == QueuedEvent::Kind::invoke) return lane_of_function(event.function);
  return ("to " + event.target).substr(0, kLaneBytesMax);
}

std::string encode_queued_event(const QueuedEvent& event) {
  const json::object line{{"v", kFormat},
                          {"kind", event.kind == QueuedEvent::Kind::invoke ? kInvoke : kDeliver},
                          {"function", event.function},
                          {"qualifier", event.qualifier},
                          {"arn", event.function_arn},
                          {"clientContext", event.client_context},
                          {"traceId", event.trace_id},
                          {"target", event.target},
                          {"chain", event.chain},
                          {"bytes", event.payload.size()}};
  return json::serialize(line) + "\n" + event.payload;
}

Result<QueuedEvent> decode_queued_event(std::string_view stored) {
  const std::size_t end = stored.substr(0, kEventLineBytesMax + 1).find('\n');
  if (end == std::string_view::npos) return unreadable("no line about it");
  json::error_code code;
  const json::value value = json::parse(stored.substr(0, end), code);
  const json::object* line = code ? nullptr : value.if_object();
  if (line == nullptr) return unreadable("the line about it is no JSON object");
  const auto text = [&](std::string_view key, std::string& into) {
    const json::value* found = line->if_contains(key);
    const json::string* string = found == nullptr ? nullptr : found->if_string();
    if (string != nullptr) into.assign(string->data(), string->size());
    return string != nullptr;
  };
  const auto number = [&](std::string_view key) -> std::int64_t {
    const json::value* found = line->if_contains(key);
    return found != nullptr && found->is_int64() ? found->get_int64() : -1;
  };
  if (number("v") != kFormat) return unreadable("its format is not " + std::to_string(kFormat));
  QueuedEvent event;
  std::string kind;
  const std::int64_t chain = number("chain");
  if (!text("kind", kind) || (kind != kInvoke && kind != kDeliver) || !text("function", event.function) ||
      event.function.empty() || !text("qualifier", event.qualifier) || !text("arn", event.function_arn) ||
      !text("clientContext", event.client_context) || !text("traceId", event.trace_id) ||
      !text("target", event.target) || chain < 0 || chain > UINT32_MAX)
    return unreadable("a field is missing");
  event.kind = kind == kInvoke ? QueuedEvent::Kind::invoke : QueuedEvent::Kind::deliver;
  event.chain = static_cast<std::uint32_t>(chain);
  event.payload = stored.substr(end + 1);
  if (number("bytes") != static_cast<std::int64_t>(event.payload.size())) return unreadable("its payload is cut");
  return event;
}

}  // namespace thaw::events
