// Server-sent events as a client reads them (WHATWG HTML Living Standard, section 9.2, "Interpreting an event stream").
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::http {

struct StreamEvent {
  std::string type = "message";
  std::string data;
};

// Takes the bytes of a stream as they come, cut anywhere, and gives each event as soon as its empty line is here. What
// follows the last empty line is no event, as the standard has it. The fields id and retry, which are for reconnecting,
// are passed over.
//
// Threads: one at a time. Errors: too_large when an event or a line takes more than event_bytes_max; whatever on_event
// gives back ends the call, and the parser is of no further use after any error.
class EventStreamParser {
 public:
  using OnEvent = std::function<Status(const StreamEvent&)>;

  explicit EventStreamParser(std::size_t event_bytes_max) : event_bytes_max_(event_bytes_max) {}
  Status feed(std::string_view bytes, const OnEvent& on_event);

 private:
  Status end_line(const OnEvent& on_event);

  const std::size_t event_bytes_max_;
  std::string line_;
  std::string type_;
  std::string data_;
  bool has_data_ = false;
  bool first_line_ = true;
  bool after_return_ = false;  // a '\n' that comes next belongs to the line's end before it
};

}  // namespace thaw::http
