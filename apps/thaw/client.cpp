#include "client.h"

#include <curl/curl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace thaw::cli {
namespace {

constexpr long kConnectTimeoutMs = 10000;

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// What libcurl's callbacks share during one transfer.
struct Transfer {
  const Request& request;
  const BodySink& sink;
  ResponseHead head = {};
  std::optional<Error> error = {};

  // An error of the caller's ends the transfer, and is what the caller gets back.
  std::size_t fail(Error what, std::size_t code) {
    if (!error) error = std::move(what);
    return code;
  }
};

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  std::string_view line(data, size * count);
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {
    // A status line: of an interim response (100) or of the final one. Only the last one's headers count.
    transfer.head.headers.clear();
  } else if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
    transfer.head.headers.emplace_back(line.substr(0, colon), value);
  }
  return size * count;
}

std::size_t on_body_read(char* into, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const Result<std::size_t> got = transfer.request.body(std::span<char>(into, size * count));
  if (!got.ok()) return transfer.fail(got.error(), CURL_READFUNC_ABORT);
  return *got;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (!transfer.request.keep_going) return 0;
  const Status status = transfer.request.keep_going();
  if (status.ok()) return 0;
  transfer.fail(status.error(), 0);
  return 1;
}

Error unreachable(const Endpoint& endpoint, const std::string& why) {
  std::string message = "cannot reach thaw at " + endpoint.name() + " (" + why + "): is `thaw serve` running? ";
  message +=
      endpoint.url.empty() ? "start it with: sudo thaw serve" : "check the URL, or start it with: sudo thaw serve";
  return {ErrorKind::unavailable, std::move(message), "Client.Unreachable"};
}

// libcurl says only that it could not connect; a try of our own says why.
Status probe_socket(const Endpoint& endpoint) {
  const std::string& path = endpoint.socket_path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return invalid_argument("the socket's path is longer than " + std::to_string(sizeof address.sun_path - 1) +
                            " bytes: " + path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return unreachable(endpoint, std::strerror(errno));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return {};
  if (errno == EACCES || errno == EPERM) {
    return Error{ErrorKind::forbidden,
                 "permission denied on " + path +
                     ": only the user that runs thaw and root may control it; try again "
                     "with sudo, or name another daemon with --socket or --url",
                 "Client.PermissionDenied"};
  }
  if (errno == ENOENT) return unreachable(endpoint, "no such socket");
  return unreachable(endpoint, std::strerror(errno));
}

struct SlistDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

}  // namespace

const std::string* ResponseHead::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (same_name(key, name)) return &value;
  }
  return nullptr;
}

struct Client::Connection {
  CURL* handle = curl_easy_init();
  bool probed = false;

  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { curl_easy_cleanup(handle); }
};

namespace {

struct SinkCall {
  Transfer& transfer;
  CURL* handle;
};

std::size_t on_body_write(char* data, std::size_t size, std::size_t count, void* user) {
  auto& call = *static_cast<SinkCall*>(user);
  long status = 0;
  curl_easy_getinfo(call.handle, CURLINFO_RESPONSE_CODE, &status);
  call.transfer.head.status = static_cast<int>(status);
  const Status taken = call.transfer.sink(call.transfer.head, std::string_view(data, size * count));
  if (!taken.ok()) return call.transfer.fail(taken.error(), 0);
  return size * count;
}

Error transfer_error(CURLcode code, const Endpoint& endpoint, const char* detail) {
  const std::string why = detail[0] != '\0' ? detail : curl_easy_strerror(code);
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
      return unreachable(endpoint, why);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return invalid_argument("not a URL that thaw can use: " + endpoint.url + " (" + why + ")");
    default:
      return {ErrorKind::unavailable, "the connection to thaw at " + endpoint.name() + " broke: " + why,
              "Client.ConnectionLost"};
  }
}

}  // namespace

Client::Client(Endpoint endpoint) : endpoint_(std::move(endpoint)) {
  // Once per process is enough; libcurl counts the calls itself.
  curl_global_init(CURL_GLOBAL_DEFAULT);
  connection_ = std::make_unique<Connection>();
  while (endpoint_.url.ends_with('/')) endpoint_.url.pop_back();
}

Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Result<ResponseHead> Client::stream(const Request& request, const BodySink& sink) {
  CURL* handle = connection_->handle;
  if (handle == nullptr) return internal_error("libcurl gives no handle");
  if (endpoint_.url.empty() && !connection_->probed) {
    RETURN_IF_ERROR(probe_socket(endpoint_));
    connection_->probed = true;
  }
  Transfer transfer{request, sink};
  SinkCall sink_call{transfer, handle};
  char detail[CURL_ERROR_SIZE] = {};

  curl_easy_reset(handle);
  const std::string url = (endpoint_.url.empty() ? "http://localhost" : endpoint_.url) + request.target;
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  // The proxy of the environment is for the internet, not for the daemon next door.
  curl_easy_setopt(handle, CURLOPT_NOPROXY, "*");
  if (endpoint_.url.empty()) curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, endpoint_.socket_path.c_str());
  curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &on_body_write);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &sink_call);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, &on_progress);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "thaw");

  std::unique_ptr<curl_slist, SlistDeleter> lines;
  const auto add = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(lines.get(), line.c_str());
    if (longer == nullptr) return;
    (void)lines.release();
    lines.reset(longer);
  };
  if (request.method == "HEAD") {
    curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  } else if (request.body) {
    curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(handle, CURLOPT_UPLOAD_BUFFERSIZE, 1L << 18);
    curl_easy_setopt(handle, CURLOPT_READFUNCTION, &on_body_read);
    curl_easy_setopt(handle, CURLOPT_READDATA, &transfer);
    if (request.body_bytes) {
      curl_easy_setopt(handle, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(*request.body_bytes));
    }
    // The daemon is one hop away: asking first costs a round trip and gains nothing.
    add("Expect:");
  }
  if (request.method != "HEAD") curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  for (const auto& [name, value] : request.headers) {
    // libcurl drops "Name:" with nothing after it; "Name;" sends it empty.
    add(value.empty() ? name + ";" : name + ": " + value);
  }
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, lines.get());

  const CURLcode code = curl_easy_perform(handle);
  if (transfer.error) return *transfer.error;
  if (code != CURLE_OK) return transfer_error(code, endpoint_, detail);
  long status = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  transfer.head.status = static_cast<int>(status);
  return std::move(transfer.head);
}

Result<Response> Client::send(const Request& request) {
  Response response;
  ASSIGN_OR_RETURN(ResponseHead head, stream(request, [&](const ResponseHead&, std::string_view bytes) -> Status {
                     if (response.body.size() + bytes.size() > kCollectedBodyBytesMax) {
                       return Error{ErrorKind::too_large,
                                    "the response is larger than " + std::to_string(kCollectedBodyBytesMax) + " bytes"};
                     }
                     response.body += bytes;
                     return {};
                   }));
  static_cast<ResponseHead&>(response) = std::move(head);
  return response;
}

std::function<Result<std::size_t>(std::span<char>)> body_of(std::string text) {
  return [text = std::move(text), at = std::size_t{0}](std::span<char> into) mutable -> Result<std::size_t> {
    const std::size_t count = std::min(into.size(), text.size() - at);
    std::memcpy(into.data(), text.data() + at, count);
    at += count;
    return count;
  };
}

}  // namespace thaw::cli
