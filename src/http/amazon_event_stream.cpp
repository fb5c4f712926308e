#include "http/amazon_event_stream.h"

#include <algorithm>
#include <boost/crc.hpp>

#include "http/message.h"

namespace thaw::http {
namespace {

constexpr std::size_t kPreludeBytes = 12;
constexpr std::size_t kChecksumBytes = 4;
constexpr std::size_t kNameBytesMax = 255;
constexpr std::size_t kValueBytesMax = 32767;
constexpr char kString = 7;

std::uint32_t crc32(std::string_view bytes) {
  boost::crc_32_type crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

void append_number(std::string& to, std::size_t number, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) to += static_cast<char>(number >> shift & 0xff);
}

std::size_t number_at(std::string_view bytes, std::size_t at, std::size_t count) {
  std::size_t number = 0;
  for (const char byte : bytes.substr(at, count)) number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}

using Headers = std::vector<std::pair<std::string, std::string>>;

bool has_header(const Headers& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(), [&](const auto& header) { return header.first == name; });
}

Status check_sizes(std::size_t headers_bytes, std::size_t payload_bytes) {
  if (headers_bytes > kAmazonHeadersBytesMax)
    return Error{ErrorKind::too_large, "the message's headers are larger than 128 KiB"};
  if (payload_bytes > kAmazonPayloadBytesMax)
    return Error{ErrorKind::too_large, "the message's payload is larger than 16 MiB"};
  return {};
}

Result<Headers> decode_headers(std::string_view bytes) {
  Headers headers;
  while (!bytes.empty()) {
    const std::size_t name_bytes = number_at(bytes, 0, 1);
    if (name_bytes == 0) return invalid_argument("a header's name is empty");
    if (bytes.size() < 1 + name_bytes + 1) return invalid_argument("a header ends within its name");
    std::string name(bytes.substr(1, name_bytes));
    if (bytes[1 + name_bytes] != kString) return Error{ErrorKind::unsupported, "a header's value is not a string"};
    bytes.remove_prefix(1 + name_bytes + 1);
    const std::size_t value_bytes = number_at(bytes, 0, 2);
    if (bytes.size() < 2 || bytes.size() - 2 < value_bytes || value_bytes > kValueBytesMax)
      return invalid_argument("a header ends within its value, or the value is longer than 32,767 bytes");
    if (has_header(headers, name)) return invalid_argument("a header is there twice");
    headers.emplace_back(std::move(name), bytes.substr(2, value_bytes));
    bytes.remove_prefix(2 + value_bytes);
  }
  return headers;
}

std::string json_text(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20) {
      quoted += "\\u00";
      quoted += kHex[byte >> 4];
      quoted += kHex[byte & 0xf];
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

Result<std::string> event(std::string_view type, std::string_view content_type, std::string payload) {
  AmazonMessage message;
  message.headers.emplace_back(":event-type", type);
  message.headers.emplace_back(":content-type", content_type);
  message.headers.emplace_back(":message-type", "event");
  message.payload = std::move(payload);
  return encode_amazon_message(message);
}

}  // namespace

Result<std::string> encode_amazon_message(const AmazonMessage& message) {
  std::string headers;
  Headers seen;
  for (const auto& [name, value] : message.headers) {
    if (name.empty() || name.size() > kNameBytesMax) return invalid_argument("a header's name has not 1 to 255 bytes");
    if (value.size() > kValueBytesMax) return invalid_argument("a header's value is longer than 32,767 bytes");
    if (has_header(seen, name)) return invalid_argument("a header is there twice");
    seen.emplace_back(name, std::string());
    append_number(headers, name.size(), 1);
    headers += name;
    headers += kString;
    append_number(headers, value.size(), 2);
    headers += value;
  }
  if (Status fits = check_sizes(headers.size(), message.payload.size()); !fits.ok()) return fits.error();
  std::string bytes;
  bytes.reserve(kPreludeBytes + headers.size() + message.payload.size() + kChecksumBytes);
  append_number(bytes, kPreludeBytes + headers.size() + message.payload.size() + kChecksumBytes, 4);
  append_number(bytes, headers.size(), 4);
  append_number(bytes, crc32(bytes), 4);
  bytes += headers;
  bytes += message.payload;
  append_number(bytes, crc32(bytes), 4);
  return bytes;
}

Result<std::optional<DecodedAmazonMessage>> decode_amazon_message(std::string_view bytes) {
  if (bytes.size() < kPreludeBytes) return std::optional<DecodedAmazonMessage>();
  const std::size_t total = number_at(bytes, 0, 4);
  const std::size_t headers_bytes = number_at(bytes, 4, 4);
  // Before the lengths are believed.
  if (number_at(bytes, 8, 4) != crc32(bytes.substr(0, 8)))
    return invalid_argument("the checksum of the message's prelude is another");
  if (total < kPreludeBytes + kChecksumBytes || headers_bytes > total - kPreludeBytes - kChecksumBytes)
    return invalid_argument("the message's lengths do not fit each other");
  const std::size_t payload_bytes = total - kPreludeBytes - kChecksumBytes - headers_bytes;
  if (Status fits = check_sizes(headers_bytes, payload_bytes); !fits.ok()) return fits.error();
  if (bytes.size() < total) return std::optional<DecodedAmazonMessage>();
  if (number_at(bytes, total - kChecksumBytes, 4) != crc32(bytes.substr(0, total - kChecksumBytes)))
    return invalid_argument("the message's checksum is another");
  auto headers = decode_headers(bytes.substr(kPreludeBytes, headers_bytes));
  if (!headers.ok()) return headers.error();
  DecodedAmazonMessage decoded;
  decoded.message.headers = std::move(*headers);
  decoded.message.payload = bytes.substr(kPreludeBytes + headers_bytes, payload_bytes);
  decoded.bytes = total;
  return std::optional<DecodedAmazonMessage>(std::move(decoded));
}

Result<std::string> payload_chunk_event(std::string_view piece) {
  return event("PayloadChunk", "application/octet-stream", std::string(piece));
}

Result<std::string> invoke_complete_event(std::string_view error_code, std::string_view error_details,
                                          std::string_view log_result) {
  if (!is_utf8(error_code) || !is_utf8(error_details)) return invalid_argument("the error's text is not UTF-8");
  std::string body;
  const auto add = [&](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    body += (body.empty() ? "{\"" : ",\"") + std::string(name) + "\":" + json_text(value);
  };
  add("ErrorCode", error_code);
  add("ErrorDetails", error_details);
  add("LogResult", log_result);
  return event("InvokeComplete", "application/json", body.empty() ? "{}" : body + "}");
}

}  // namespace thaw::http
