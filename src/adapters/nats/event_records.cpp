#include "adapters/nats/event_records.h"

#include <charconv>
#include <concepts>
#include <vector>

#include "ports/event_queue.h"

namespace thaw::adapters {
namespace {

constexpr std::string_view kVersion = "1";
constexpr std::string_view kNobody = "-";

bool plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Error damaged(std::string_view what) { return {ErrorKind::corrupt, "the stream of events: " + std::string(what)}; }

// The words of a record, parted by single spaces.
class Words {
 public:
  explicit Words(std::string_view text) : rest_(text) {}

  Result<std::string_view> word() {
    if (over_) return damaged("a record is cut short");
    const std::size_t end = rest_.find(' ');
    over_ = end == std::string_view::npos;
    const std::string_view word = rest_.substr(0, end);
    rest_ = over_ ? std::string_view() : rest_.substr(end + 1);
    return word;
  }
  template <std::integral Number>
  Result<Number> number() {
    ASSIGN_OR_RETURN(const std::string_view text, word());
    Number value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return damaged("a record's number is none");
    return value;
  }
  Result<std::string> bytes(std::size_t min, std::size_t max) {
    ASSIGN_OR_RETURN(const std::string_view text, word());
    if (text.size() > 3 * max) return damaged("a record's text is too long");
    ASSIGN_OR_RETURN(std::string decoded, decode_token(text));
    if (decoded.size() < min || decoded.size() > max) return damaged("a record's text has a wrong length");
    return decoded;
  }
  Status version() {
    ASSIGN_OR_RETURN(const std::string_view text, word());
    if (text != kVersion) return damaged("a record has another version than " + std::string(kVersion));
    return {};
  }
  Status end() const { return over_ ? Status() : damaged("a record is too long"); }

 private:
  std::string_view rest_;
  bool over_ = false;
};

}  // namespace

std::string encode_token(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string token;
  token.reserve(bytes.size());
  for (const char c : bytes) {
    if (plain(c)) {
      token += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    token += '=';
    token += kDigits[byte >> 4];
    token += kDigits[byte & 15];
  }
  return token;
}

Result<std::string> decode_token(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  for (std::size_t at = 0; at < token.size(); ++at) {
    if (plain(token[at])) {
      bytes += token[at];
      continue;
    }
    const int high = token[at] == '=' && at + 2 < token.size() ? hex(token[at + 1]) : -1;
    const int low = high >= 0 ? hex(token[at + 2]) : -1;
    if (low < 0) return damaged("a name is not encoded as it should be");
    const char c = static_cast<char>(high << 4 | low);
    if (plain(c)) return damaged("a name is not encoded as it should be");
    bytes += c;
    at += 2;
  }
  return bytes;
}

std::string encode(const EventRecord& record) {
  return std::string(kVersion) + " " + encode_token(record.lane) + " " + std::to_string(record.accepted_ms) + " " +
         std::to_string(record.due_ms);
}

std::string encode(const StateRecord& record) {
  return std::string(kVersion) + " " + std::to_string(record.event_sequence) + " " +
         (record.owner.empty() ? std::string(kNobody) : encode_token(record.owner)) + " " +
         std::to_string(record.due_ms) + " " + std::to_string(record.attempts) + " " + std::to_string(record.failures);
}

std::string encode(const DeadRecord& record) {
  return std::string(kVersion) + " " + encode_token(record.id) + " " + encode_token(record.lane) + " " +
         std::to_string(record.accepted_ms) + " " + std::to_string(record.died_ms) + " " + encode_token(record.reason);
}

std::string encode(const GoneRecord& record) {
  return encode_token(record.id) + " " + std::to_string(record.sequence) + " " + std::to_string(record.state_sequence) +
         "\n";
}

Result<EventRecord> decode_event_record(std::string_view text) {
  Words words(text);
  RETURN_IF_ERROR(words.version());
  EventRecord record;
  ASSIGN_OR_RETURN(record.lane, words.bytes(1, ports::kEventLaneBytesMax));
  ASSIGN_OR_RETURN(record.accepted_ms, words.number<std::int64_t>());
  ASSIGN_OR_RETURN(record.due_ms, words.number<std::int64_t>());
  RETURN_IF_ERROR(words.end());
  return record;
}

Result<StateRecord> decode_state_record(std::string_view text) {
  Words words(text);
  RETURN_IF_ERROR(words.version());
  StateRecord record;
  ASSIGN_OR_RETURN(record.event_sequence, words.number<std::uint64_t>());
  ASSIGN_OR_RETURN(record.owner, words.bytes(1, ports::kEventIdBytesMax));
  if (record.owner == kNobody) record.owner.clear();
  ASSIGN_OR_RETURN(record.due_ms, words.number<std::int64_t>());
  ASSIGN_OR_RETURN(record.attempts, words.number<std::uint32_t>());
  ASSIGN_OR_RETURN(record.failures, words.number<std::uint32_t>());
  RETURN_IF_ERROR(words.end());
  return record;
}

Result<DeadRecord> decode_dead_record(std::string_view text) {
  Words words(text);
  RETURN_IF_ERROR(words.version());
  DeadRecord record;
  ASSIGN_OR_RETURN(record.id, words.bytes(1, ports::kEventIdBytesMax));
  ASSIGN_OR_RETURN(record.lane, words.bytes(1, ports::kEventLaneBytesMax));
  ASSIGN_OR_RETURN(record.accepted_ms, words.number<std::int64_t>());
  ASSIGN_OR_RETURN(record.died_ms, words.number<std::int64_t>());
  ASSIGN_OR_RETURN(record.reason, words.bytes(0, ports::kEventReasonBytesMax));
  RETURN_IF_ERROR(words.end());
  return record;
}

Result<GoneRecord> decode_gone_record(std::string_view text) {
  Words words(text);
  GoneRecord record;
  ASSIGN_OR_RETURN(record.id, words.bytes(1, ports::kEventIdBytesMax));
  ASSIGN_OR_RETURN(record.sequence, words.number<std::uint64_t>());
  ASSIGN_OR_RETURN(record.state_sequence, words.number<std::uint64_t>());
  RETURN_IF_ERROR(words.end());
  return record;
}

}  // namespace thaw::adapters
