// Messages of application/vnd.amazon.eventstream, in which Lambda's InvokeWithResponseStream answers ("Event stream
// encoding", Amazon Transcribe Developer Guide; the framing is that of every AWS service):
//
//   total length, headers length, CRC-32 of these two | headers | payload | CRC-32 of all before
//
// Numbers are big-endian, 32 bits. A header: name length (8 bits), name, type (8 bits), value.
//
// Threads: functions of their arguments alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace thaw::http {

inline constexpr std::size_t kAmazonHeadersBytesMax = 128 << 10;
inline constexpr std::size_t kAmazonPayloadBytesMax = 16 << 20;

struct AmazonMessage {
  // Of type string alone: Lambda sends no other.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string payload;

  bool operator==(const AmazonMessage&) const = default;
};

// Errors: too_large for headers or a payload past the limits above; invalid_argument for a header whose name is empty,
// longer than 255 bytes or there twice, or whose value is longer than 32,767 bytes.
Result<std::string> encode_amazon_message(const AmazonMessage& message);

struct DecodedAmazonMessage {
  AmazonMessage message;
  std::size_t bytes = 0;  // of the input that it took
};

// The first message of the bytes; nothing while more of them are needed. Errors: invalid_argument for lengths that
// cannot be, a checksum that is another, a header that is none; too_large as above; unsupported for a header that is
// no string.
Result<std::optional<DecodedAmazonMessage>> decode_amazon_message(std::string_view bytes);

// The events of InvokeWithResponseStream ("InvokeWithResponseStream", AWS Lambda API Reference). Errors: as encoding.
Result<std::string> payload_chunk_event(std::string_view piece);
// error_code, error_details: UTF-8 (else invalid_argument), empty where the function did not fail. log_result: base64;
// empty without LogType Tail.
Result<std::string> invoke_complete_event(std::string_view error_code, std::string_view error_details,
                                          std::string_view log_result);

}  // namespace thaw::http
