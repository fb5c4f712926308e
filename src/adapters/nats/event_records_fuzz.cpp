// Records as somebody else may have put them into the stream: what is read is written the same way again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "adapters/nats/event_records.h"

namespace {

template <class Decode>
void again(Decode decode, std::string_view text) {
  const auto record = decode(text);
  if (!record.ok()) return;
  const auto second = decode(encode(*record));
  if (!second.ok() || *second != *record) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  again(thaw::adapters::decode_event_record, text);
  again(thaw::adapters::decode_state_record, text);
  again(thaw::adapters::decode_dead_record, text);
  if (const auto gone = thaw::adapters::decode_gone_record(text); gone.ok()) {
    const std::string line = encode(*gone);
    const auto second = thaw::adapters::decode_gone_record(std::string_view(line).substr(0, line.size() - 1));
    if (!second.ok() || *second != *gone) std::abort();
  }
  if (const auto bytes = thaw::adapters::decode_token(text); bytes.ok() && thaw::adapters::encode_token(*bytes) != text)
    std::abort();
  return 0;
}
