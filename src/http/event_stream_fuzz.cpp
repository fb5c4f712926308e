// Event streams as an enemy may send them. The first byte says into pieces of which length the rest is cut: the events
// must be the same as of the whole.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "http/event_stream.h"

namespace {

constexpr std::size_t kEventBytesMax = 512;

struct Outcome {
  std::vector<std::string> events;
  bool failed = false;
};

Outcome read(std::string_view stream, std::size_t piece_bytes) {
  Outcome outcome;
  thaw::http::EventStreamParser parser(kEventBytesMax);
  for (std::size_t at = 0; at < stream.size() && !outcome.failed; at += piece_bytes) {
    const thaw::Status fed =
        parser.feed(stream.substr(at, piece_bytes), [&](const thaw::http::StreamEvent& event) -> thaw::Status {
          if (event.data.size() > kEventBytesMax || event.type.empty()) std::abort();
          outcome.events.push_back(event.type + "\n" + event.data);
          return {};
        });
    outcome.failed = !fed.ok();
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = read(stream, size);
  const Outcome cut = read(stream, data[0] == 0 ? size : data[0]);
  if (whole.events != cut.events || whole.failed != cut.failed) std::abort();
  return 0;
}
