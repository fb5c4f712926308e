// HTTP/1.1 messages as the gateway sees them: a head of views into the connection's buffer, and helpers on targets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace thaw::http {

struct Field {
  std::string_view name;
  std::string_view value;
};

// Fields in the order they came. The views live as long as the message they came with.
class Fields {
 public:
  void add(std::string_view name, std::string_view value) { fields_.push_back({name, value}); }
  void clear() { fields_.clear(); }
  // The first field of that name, without regard to ASCII case; empty when there is none.
  std::string_view find(std::string_view name) const;
  bool has(std::string_view name) const;
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  std::size_t size() const { return fields_.size(); }

 private:
  std::vector<Field> fields_;
};

struct RequestHead {
  std::string_view method;
  std::string_view target;
  Fields fields;
  bool http_1_0 = false;
  bool keep_alive = true;
  bool chunked = false;
  std::optional<std::uint64_t> content_length;
};

struct ResponseHead {
  int status = 0;
  std::string_view reason;
  Fields fields;
  bool keep_alive = true;
  bool chunked = false;
  std::optional<std::uint64_t> content_length;
};

bool iequals(std::string_view a, std::string_view b);
// "Not Found"; "Unknown" for a status without a registered phrase.
std::string_view reason_phrase(int status);
// Fields that belong to one connection and are never forwarded (RFC 9110, section 7.6.1).
bool is_hop_by_hop(std::string_view name);
// Whether a comma-separated field value holds the token, without regard to case.
bool has_token(std::string_view value, std::string_view token);

// A request target in origin form split at the first '?', both parts still percent-encoded.
struct Target {
  std::string_view path;
  std::string_view query;
};
// Errors: invalid_argument for targets that do not start with '/' (after an absolute form's authority is removed) or
// that hold control characters, spaces or '#'.
Result<Target> split_target(std::string_view target);
// Errors: invalid_argument for a '%' without two hex digits, and for an encoded NUL.
Result<std::string> percent_decode(std::string_view text);
// Decodes application/x-www-form-urlencoded pairs ('+' is a space), in order. Errors: as percent_decode, and more than
// 1,000 pairs.
Result<std::vector<std::pair<std::string, std::string>>> parse_query(std::string_view query);
std::string percent_encode(std::string_view text);
// RFC 9110 IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT".
std::string http_date(std::int64_t unix_seconds);
// Whether the bytes are well-formed UTF-8 (RFC 3629).
bool is_utf8(std::string_view text);

}  // namespace thaw::http
