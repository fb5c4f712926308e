#include "adapters/curl/transport.h"

#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <limits>
#include <optional>

namespace thaw::adapters {
namespace {

using Clock = std::chrono::steady_clock;

constexpr long kReceiveBufferBytes = 512 << 10;
constexpr long kStalledBytesPerSecond = 1024;
constexpr std::size_t kIdleHandlesMax = 64;

// What the callbacks of one exchange share.
struct Exchange {
  const HttpRequest& request;
  const ports::Call& call;
  HttpAnswer answer;
  std::size_t head_bytes = 0;
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
  bool head_checked = false;
  Status failed = {};

  bool into_sink() const { return request.sink != nullptr && (answer.status == 200 || answer.status == 206); }
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r' || text.back() == '\n'))
    text.remove_suffix(1);
  return text;
}

std::size_t on_header(const char* data, std::size_t, std::size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  const std::string_view line(data, count);
  exchange.head_bytes += count;
  if (exchange.head_bytes > kHeadBytesMax) {
    exchange.failed = Error{ErrorKind::unavailable, "the server's answer has a head of more than " +
                                                        std::to_string(kHeadBytesMax >> 10) + " kB"};
    return 0;
  }
  if (line.starts_with("HTTP/")) {  // also after a "100 Continue"
    exchange.answer.fields.clear();
    const std::size_t space = line.find(' ');
    exchange.answer.status = space == std::string_view::npos ? 0 : std::atoi(line.data() + space + 1);
    return count;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return count;
  std::string name(trimmed(line.substr(0, colon)));
  std::transform(name.begin(), name.end(), name.begin(), lower);
  exchange.answer.fields.emplace_back(std::move(name), trimmed(line.substr(colon + 1)));
  return count;
}

std::size_t into_sink(Exchange& exchange, const char* data, std::size_t count) {
  if (!exchange.head_checked) {
    exchange.head_checked = true;
    if (exchange.request.check_head)
      exchange.failed = exchange.request.check_head(exchange.answer.status, exchange.answer.fields);
    if (!exchange.failed.ok()) return 0;
  }
  const std::size_t fits = std::min<std::uint64_t>(count, exchange.request.sink_bytes - exchange.received);
  exchange.received += fits;
  if (fits > 0) exchange.failed = (*exchange.request.sink)(std::as_bytes(std::span(data, fits)));
  if (exchange.failed.ok() && fits < count)
    exchange.failed = Error{ErrorKind::unavailable, "the server sent more bytes than it was asked for"};
  return exchange.failed.ok() ? count : 0;
}

std::size_t on_body(const char* data, std::size_t, std::size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  if (exchange.into_sink()) return into_sink(exchange, data, count);
  if (exchange.answer.body.size() + count > exchange.request.collect_bytes_max) {
    exchange.failed = Error{ErrorKind::too_large, "the server's answer is larger than " +
                                                      std::to_string(exchange.request.collect_bytes_max) + " bytes"};
    return 0;
  }
  exchange.answer.body.append(data, count);
  return count;
}

std::size_t on_send(char* into, std::size_t, std::size_t room, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  const HttpRequest& request = exchange.request;
  const std::size_t count = std::min<std::uint64_t>(room, request.body_bytes - exchange.sent);
  if (count == 0) return 0;
  const ssize_t got =
      ::pread(request.body_file->get(), into, count, static_cast<off_t>(request.body_offset + exchange.sent));
  if (got <= 0) {
    exchange.failed = Error{ErrorKind::conflict, "the file that is uploaded has become shorter meanwhile"};
    return CURL_READFUNC_ABORT;
  }
  exchange.sent += static_cast<std::uint64_t>(got);
  if (request.on_sent) request.on_sent(exchange.sent);
  return static_cast<std::size_t>(got);
}

// libcurl rewinds a body that went into a connection which the server had closed meanwhile.
int on_seek(void* context, curl_off_t offset, int origin) {
  auto& exchange = *static_cast<Exchange*>(context);
  if (origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_CANTSEEK;
  exchange.sent = static_cast<std::uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

int on_progress(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(context);
  if (exchange.call.is_cancelled()) {
    exchange.failed = Error{ErrorKind::unavailable, "cancelled", "Fetch.Cancelled"};
    return 1;
  }
  return 0;
}

Error transfer_error(CURLcode code, const char* detail, const std::string& url) {
  const std::string host = url.substr(0, url.find('/', url.find("://") + 3));
  const std::string why = host + ": " + (detail[0] != '\0' ? detail : curl_easy_strerror(code));
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return {ErrorKind::forbidden, why};
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return {ErrorKind::invalid_argument, why};
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
      return {ErrorKind::internal, why};
    default:
      return {ErrorKind::unavailable, why};
  }
}

}  // namespace

struct Transport::Handle {
  CURL* curl = curl_easy_init();
  char detail[CURL_ERROR_SIZE] = {};

  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { curl_easy_cleanup(curl); }

  // Everything but the request's own lines. The connections of the handle outlive the reset.
  void prepare(const Options& options, const HttpRequest& request, Exchange& exchange) {
    curl_easy_reset(curl);
    detail[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    // One exchange a connection at a time: ranges side by side want connections side by side.
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(curl, CURLOPT_USERAGENT, options.user_agent.c_str());
    if (!options.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, options.ca_file.c_str());
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, kReceiveBufferBytes);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_max.count()));
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, kStalledBytesPerSecond);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_max.count()));
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
    if (request.proxy == HttpRequest::Proxy::none) curl_easy_setopt(curl, CURLOPT_PROXY, "");
    prepare_method(request, exchange);
  }

  void prepare_method(const HttpRequest& request, Exchange& exchange) {
    curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
    // Keys may hold "/../" and the signature covers the path as it is.
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    if (request.method == "HEAD") {
      curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (request.body_file != nullptr) {
      curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
      curl_easy_setopt(curl, CURLOPT_READFUNCTION, &on_send);
      curl_easy_setopt(curl, CURLOPT_READDATA, &exchange);
      curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, &on_seek);
      curl_easy_setopt(curl, CURLOPT_SEEKDATA, &exchange);
      curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body_bytes));
    } else if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body.data() == nullptr ? "" : request.body.data());
    }
    if (request.method != "HEAD") curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
};

namespace {

struct FieldList {
  curl_slist* list = nullptr;
  FieldList() = default;
  FieldList(const FieldList&) = delete;
  FieldList& operator=(const FieldList&) = delete;
  ~FieldList() { curl_slist_free_all(list); }
  Status add(const std::string& line) {
    if (line.find_first_of("\r\n") != std::string::npos)
      return invalid_argument("a header field holds a line break: " + line.substr(0, line.find(':')));
    curl_slist* longer = curl_slist_append(list, line.c_str());
    if (longer == nullptr) return internal_error("out of memory");
    list = longer;
    return {};
  }
};

Status finish(Exchange& exchange, CURLcode code, const char* detail, bool deadline_passed) {
  if (!exchange.failed.ok()) return exchange.failed;
  if (code == CURLE_OPERATION_TIMEDOUT && deadline_passed)
    return Error{ErrorKind::timeout, "the time for this request is over"};
  if (code != CURLE_OK) return transfer_error(code, detail, exchange.request.url);
  if (!exchange.into_sink()) return {};
  if (!exchange.head_checked && exchange.request.check_head)
    RETURN_IF_ERROR(exchange.request.check_head(exchange.answer.status, exchange.answer.fields));
  if (exchange.received < exchange.request.sink_bytes)
    return Error{ErrorKind::unavailable, "the server sent fewer bytes than it was asked for"};
  return {};
}

}  // namespace

Transport::Transport(Options options) : options_(std::move(options)) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) std::abort();
}

Transport::~Transport() = default;

std::unique_ptr<Transport::Handle> Transport::take() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return nullptr;
  auto handle = std::move(idle_.back());
  idle_.pop_back();
  return handle;
}

Result<HttpAnswer> Transport::perform(const HttpRequest& request, const ports::Call& call) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(call.deadline - Clock::now());
  if (left.count() <= 0) return Error{ErrorKind::timeout, "the time for this request is over"};
  std::unique_ptr<Handle> handle = take();
  if (handle == nullptr) handle = std::make_unique<Handle>();
  if (handle->curl == nullptr) return internal_error("libcurl could not start");
  FieldList fields;
  for (const auto& [name, value] : request.fields) RETURN_IF_ERROR(fields.add(name + ": " + value));
  RETURN_IF_ERROR(fields.add("Expect:"));
  if (request.body.empty() && request.body_file == nullptr) RETURN_IF_ERROR(fields.add("Content-Type:"));
  Exchange exchange{.request = request, .call = call};
  handle->prepare(options_, request, exchange);
  curl_easy_setopt(handle->curl, CURLOPT_HTTPHEADER, fields.list);
  curl_easy_setopt(handle->curl, CURLOPT_TIMEOUT_MS,
                   static_cast<long>(std::min<std::int64_t>(left.count(), std::numeric_limits<int>::max())));
  const CURLcode code = curl_easy_perform(handle->curl);
  Status done = finish(exchange, code, handle->detail, Clock::now() >= call.deadline);
  {
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kIdleHandlesMax) idle_.push_back(std::move(handle));
  }
  if (!done.ok()) return std::move(done).error();
  return std::move(exchange.answer);
}

std::string_view find_field(const HttpFields& fields, std::string_view lower_case_name) {
  for (const auto& [name, value] : fields) {
    if (name == lower_case_name) return value;
  }
  return {};
}

std::string_view HttpAnswer::field(std::string_view name) const { return find_field(fields, name); }

Error status_error(int status, std::string_view what, std::string_view detail) {
  std::string message(what);
  message += ": status " + std::to_string(status);
  if (!detail.empty()) message += " (" + std::string(detail) + ")";
  ErrorKind kind = ErrorKind::internal;
  if (status == 400 || status == 405) kind = ErrorKind::invalid_argument;
  if (status == 401 || status == 403) kind = ErrorKind::forbidden;
  if (status == 404 || status == 410) kind = ErrorKind::not_found;
  if (status == 409 || status == 412 || status == 416) kind = ErrorKind::conflict;
  if (status == 501) kind = ErrorKind::unsupported;
  if (status == 408 || status == 425 || status == 429 || status == 500 || (status >= 502 && status <= 599))
    kind = ErrorKind::unavailable;
  return {kind, std::move(message)};
}

namespace {

std::optional<std::uint64_t> number(std::string_view text) {
  if (text.empty() || text.size() > 19) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

Error wrong_range(std::string_view what) {
  return {ErrorKind::unavailable, "the server answers another range than was asked for: " + std::string(what)};
}

std::string encode(std::string_view text, std::string_view kept) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool unreserved = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                            c == '.' || c == '_' || c == '~';
    if (unreserved || kept.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

}  // namespace

Status check_range(int status, const HttpFields& fields, const ports::ObjectRange& range) {
  const std::uint64_t count = range.bytes;
  if (status == 200) {
    // The whole object: right only when that is what was asked for.
    const auto length = number(find_field(fields, "content-length"));
    if (range.offset == 0 && length == count) return {};
    return Error{ErrorKind::unsupported, "the server does not answer ranges (status 200 to a Range request)"};
  }
  // RFC 9110, section 14.4: "bytes FIRST-LAST/TOTAL".
  const std::string_view text = find_field(fields, "content-range");
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (!text.starts_with("bytes ") || dash == std::string_view::npos || slash == std::string_view::npos || slash < dash)
    return wrong_range(text.empty() ? "no Content-Range" : text);
  const auto first = number(text.substr(6, dash - 6));
  const auto last = number(text.substr(dash + 1, slash - dash - 1));
  const auto total = number(text.substr(slash + 1));
  if (first != range.offset || last != range.offset + count - 1) return wrong_range(text);
  if (total && range.object_bytes != 0 && total != range.object_bytes) {
    return Error{ErrorKind::conflict, "the object has " + std::to_string(*total) + " bytes and had " +
                                          std::to_string(range.object_bytes) + " before: it has changed meanwhile"};
  }
  return {};
}

Status check_etag(const HttpFields& fields, const ports::ObjectRange& range) {
  const auto strong = [](std::string_view etag) { return etag.starts_with("W/") ? etag.substr(2) : etag; };
  const std::string_view etag = find_field(fields, "etag");
  if (range.if_match.empty() || etag.empty() || strong(etag) == strong(range.if_match)) return {};
  return Error{ErrorKind::conflict, "the object has changed meanwhile (another ETag)"};
}

namespace {

using Url = std::unique_ptr<CURLU, void (*)(CURLU*)>;

std::string part_of(const Url& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

Result<Url> parse_url(const std::string& text) {
  Url url(curl_url(), &curl_url_cleanup);
  if (url == nullptr || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
    return invalid_argument("'" + text + "' is no address");
  return url;
}

}  // namespace

Result<std::string> resolve_url(const std::string& base, const std::string& location) {
  const Error bad(ErrorKind::unavailable, "the server redirects to what is no web address");
  ASSIGN_OR_RETURN(Url url, parse_url(base));
  if (curl_url_set(url.get(), CURLUPART_URL, location.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) return bad;
  const std::string scheme = part_of(url, CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return bad;
  if (!part_of(url, CURLUPART_USER).empty()) return bad;
  curl_url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0);
  return part_of(url, CURLUPART_URL);
}

Result<std::string> origin_of(const std::string& text) {
  ASSIGN_OR_RETURN(const Url url, parse_url(text));
  return part_of(url, CURLUPART_SCHEME) + "://" + part_of(url, CURLUPART_HOST) + ":" +
         part_of(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

std::string encode_path(std::string_view path) { return encode(path, "/"); }
std::string encode_query_part(std::string_view text) { return encode(text, ""); }

}  // namespace thaw::adapters
