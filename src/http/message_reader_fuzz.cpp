// Requests as an enemy may send them, one behind the other: the gateway and every Runtime API read theirs so. The first
// byte says into pieces of which length the rest is cut: what is read must be the same as of the whole.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "http/message_reader.h"

namespace {

using thaw::http::Progress;
using Reader = thaw::http::MessageReader<true>;

constexpr std::size_t kHeaderBytesMax = 4096;

struct Outcome {
  std::vector<std::string> messages;  // that are whole
  bool failed = false;
};

class Stream {
 public:
  Stream(std::string_view bytes, std::size_t piece_bytes) : bytes_(bytes), piece_bytes_(piece_bytes) {}

  Outcome read() {
    while (read_message()) {
      outcome_.messages.push_back(text_);
      reader_.next_message();
    }
    return outcome_;
  }

 private:
  // False at the end of the bytes.
  bool feed() {
    if (bytes_.empty()) return false;
    const auto room = reader_.prepare();
    if (room.size() == 0) std::abort();
    const std::size_t count = std::min({room.size(), piece_bytes_, bytes_.size()});
    std::memcpy(room.data(), bytes_.data(), count);
    bytes_.remove_prefix(count);
    reader_.commit(count);
    return true;
  }

  bool read_message() {
    text_.clear();
    for (;;) {
      const Progress progress = reader_.read_head();
      if (progress == Progress::failed) return fail();
      if (progress == Progress::ready) break;
      if (!feed()) return false;
    }
    const thaw::http::RequestHead& head = reader_.head();
    add(head.method);
    add(head.target);
    if (head.fields.size() > thaw::http::kFieldsMax) std::abort();
    for (const auto& [name, value] : head.fields) add(name), add(value);
    for (;;) {
      std::string_view piece;
      const Progress progress = reader_.read_body(piece);
      if (progress == Progress::failed) return fail();
      if (progress == Progress::end) break;
      if (progress == Progress::ready) text_ += piece;
      if (progress == Progress::need_bytes && !feed()) return false;
    }
    if (reader_.trailers().size() > thaw::http::kTrailersMax) std::abort();
    for (const auto& [name, value] : reader_.trailers()) add(name), add(value);
    return true;
  }

  bool fail() {
    outcome_.failed = true;
    return false;
  }
  void add(std::string_view part) { text_.append(part).append("\n"); }

  Reader reader_{kHeaderBytesMax};
  std::string_view bytes_;
  const std::size_t piece_bytes_;
  std::string text_;
  Outcome outcome_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = Stream(stream, size).read();
  const Outcome cut = Stream(stream, data[0] == 0 ? size : data[0]).read();
  if (whole.messages != cut.messages) std::abort();
  return 0;
}
