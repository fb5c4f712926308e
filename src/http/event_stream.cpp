#include "http/event_stream.h"

namespace thaw::http {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

Status EventStreamParser::feed(std::string_view bytes, const OnEvent& on_event) {
  while (!bytes.empty()) {
    if (std::exchange(after_return_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const std::size_t end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    if (line_.size() + data_.size() + part.size() > event_bytes_max_) {
      return Error{ErrorKind::too_large,
                   "an event of the stream is larger than " + std::to_string(event_bytes_max_) + " bytes"};
    }
    line_.append(part);
    if (end == std::string_view::npos) return {};
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    RETURN_IF_ERROR(end_line(on_event));
  }
  return {};
}

Status EventStreamParser::end_line(const OnEvent& on_event) {
  std::string_view line = line_;
  if (std::exchange(first_line_, false) && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  if (line.empty()) {
    line_.clear();
    StreamEvent event;
    if (!type_.empty()) event.type = std::exchange(type_, {});
    if (!std::exchange(has_data_, false)) return {};
    event.data = std::exchange(data_, {});
    return on_event(event);
  }
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (name == "data") {
    if (std::exchange(has_data_, true)) data_ += '\n';
    data_ += value;
  } else if (name == "event") {
    type_ = value;
  }
  line_.clear();
  return {};
}

}  // namespace thaw::http
