// One HTTP exchange after another, by libcurl: what the S3 and the HTTPS adapter share.
//
// Bounded: an answer's head (64 kB), a collected body, the time to connect, a stall, the caller's deadline. Redirects
// are answers like others here: whoever follows one decides which credentials go along.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ports/object_store.h"

namespace thaw::adapters {

inline constexpr std::size_t kHeadBytesMax = 64 << 10;

using HttpFields = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  HttpFields fields = {};
  // The body: text, or `body_bytes` of a file from `body_offset` on.
  std::string_view body = {};
  const UniqueFd* body_file = nullptr;
  std::uint64_t body_offset = 0;
  std::uint64_t body_bytes = 0;
  std::function<void(std::uint64_t)> on_sent = {};
  // Takes the body of a 200 or 206, which must have sink_bytes, not one more; the answer's body stays empty. Any other
  // status, and any answer without a sink, is collected up to collect_bytes_max.
  const ports::PieceSink* sink = nullptr;
  std::uint64_t sink_bytes = 0;
  // Looks at the head of a 200 or 206 before its body goes into the sink.
  std::function<Status(int status, const HttpFields& fields)> check_head = {};
  std::size_t collect_bytes_max = 1 << 20;
  // False for addresses of the machine's own network, which no proxy reaches.
  enum class Proxy : std::uint8_t { of_environment, none } proxy = Proxy::of_environment;
  std::chrono::milliseconds connect_max{10000};
};

struct HttpAnswer {
  int status = 0;
  HttpFields fields;  // names in lower case
  std::string body;

  // The first of that name (lower case); empty when there is none.
  std::string_view field(std::string_view name) const;
};

std::string_view find_field(const HttpFields& fields, std::string_view lower_case_name);

// Ownership: keeps connections alive between exchanges; each goes to one thread at a time.
// Threads: perform() from any, at the same time.
// Errors: unavailable (name, connection, broken off, stalled, cancelled, a body of another size than sink_bytes, a head
// that is too large), timeout (the deadline), forbidden (the server's certificate is not trusted), too_large (a
// collected body), and the sink's own. An answer of any status is no error.
class Transport {
 public:
  struct Options {
    std::string user_agent = "thaw";
    std::string ca_file = {};  // empty: the system's
    std::chrono::seconds stall_max{20};
  };
  explicit Transport(Options options);
  ~Transport();

  Result<HttpAnswer> perform(const HttpRequest& request, const ports::Call& call);

 private:
  struct Handle;
  std::unique_ptr<Handle> take();

  const Options options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Handle>> idle_;  // guarded by mutex_
};

// An answer of an error status as an error of the kind that fits; what: "s3://bucket/key". detail: the server's words.
Error status_error(int status, std::string_view what, std::string_view detail);

// Checks a 200 or 206 against the asked range; total_bytes 0: not known. Errors: unavailable for an answer that does
// not fit what was asked (a broken server or proxy), conflict when the object's size is another.
Status check_range(int status, const HttpFields& fields, const ports::ObjectRange& range);

// Whether the answer's ETag is that of the range's if_match; servers that do not know If-Match are found out by it.
// Errors: conflict.
Status check_etag(const HttpFields& fields, const ports::ObjectRange& range);

// A Location against the address that gave it. Errors: unavailable for one that is no http(s) address, or that holds a
// user's name.
Result<std::string> resolve_url(const std::string& base, const std::string& location);
// "https://host:port", with the port spelled out: equal for equal servers.
Result<std::string> origin_of(const std::string& url);

// Everything but unreserved characters (RFC 3986) and '/' becomes %XX.
std::string encode_path(std::string_view path);
std::string encode_query_part(std::string_view text);

}  // namespace thaw::adapters
