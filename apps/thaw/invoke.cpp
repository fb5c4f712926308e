// `thaw invoke`: one request to a function, its answer as it streams in.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <cstdio>

#include "api.h"
#include "base/sys.h"
#include "commands.h"
#include "invoke_target.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr std::size_t kErrorBodyBytesMax = 1 << 20;

bool has_header(const Headers& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(), [&](const auto& header) {
    return header.first.size() == name.size() && edit_distance(header.first, name) == 0;
  });
}

Status add_header(const std::string& text, Headers& headers) {
  const std::size_t colon = text.find(':');
  if (colon == 0 || colon == std::string::npos) return invalid_argument("-H '" + text + "': write NAME: VALUE");
  if (text.find_first_of("\r\n") != std::string::npos) return invalid_argument("-H: a header is one line");
  std::size_t value = colon + 1;
  while (value < text.size() && text[value] == ' ') ++value;
  headers.emplace_back(text.substr(0, colon), text.substr(value));
  return {};
}

Status add_data(const std::string& data, Request& request) {
  std::string type = "application/octet-stream";
  if (data == "-" || data.starts_with('@')) {
    const std::string path = data == "-" ? "/dev/stdin" : data.substr(1);
    Result<UniqueFd> opened = data == "-" ? sys::duplicate(UniqueFd(STDIN_FILENO)) : sys::open(path, O_RDONLY);
    if (!opened.ok()) return invalid_argument("-d " + data + ": " + opened.error().message);
    auto fd = std::make_shared<UniqueFd>(std::move(*opened));
    struct stat info {};
    if (::fstat(fd->get(), &info) == 0) {
      if (S_ISDIR(info.st_mode)) return invalid_argument("-d " + data + ": is a folder");
      if (S_ISREG(info.st_mode) && data != "-") request.body_bytes = static_cast<std::uint64_t>(info.st_size);
    }
    if (path.ends_with(".json")) type = "application/json";
    request.body = [fd](std::span<char> into) { return sys::read_some(*fd, into); };
  } else {
    boost::system::error_code failed;
    (void)json::parse(data, failed);
    if (!failed) type = "application/json";
    request.body_bytes = data.size();
    request.body = body_of(data);
  }
  if (!has_header(request.headers, "Content-Type")) request.headers.emplace_back("Content-Type", type);
  return {};
}

constexpr char kFunctionError[] = "X-Amz-Function-Error";

// Whether the function takes events. Only the control API knows; where it cannot be asked, the function is taken for
// one that answers HTTP.
bool is_event_function(Client& client, const std::string& name) {
  const Result<json::object> found = get_object(client, function_target(name));
  return found.ok() && takes_events(object_field(*found, "Configuration"));
}

// Lambda's Invoke.
Result<Request> event_of(const InvokeOptions& options) {
  if (options.path != "/" || !options.query.empty() || !options.method.empty())
    return invalid_argument(options.name + " takes events: PATH, -q and -X belong to functions that answer HTTP");
  Request request;
  for (const std::string& header : options.headers) RETURN_IF_ERROR(add_header(header, request.headers));
  RETURN_IF_ERROR(add_data(options.data.value_or("{}"), request));
  request.method = "POST";
  request.target = event_target(options.name);
  return request;
}

// The function's own failure comes with status 200.
bool is_good(const ResponseHead& head) { return head.status < 400 && head.header(kFunctionError) == nullptr; }

Result<Request> request_of(const InvokeOptions& options) {
  Request request;
  for (const std::string& header : options.headers) RETURN_IF_ERROR(add_header(header, request.headers));
  if (options.data) RETURN_IF_ERROR(add_data(*options.data, request));
  request.method = !options.method.empty() ? options.method : options.data ? "POST" : "GET";
  for (char& c : request.method) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  request.target = web_target(options.name, options.path, options.query);
  return request;
}

std::string head_text(const ResponseHead& head) {
  std::string text = "HTTP/1.1 " + std::to_string(head.status) + "\n";
  for (const auto& [name, value] : head.headers) text += name + ": " + value + "\n";
  return printable(text) + "\n";
}

std::string advice(const std::string& kind, const std::string& code, const std::string& name) {
  const auto has = [&](const char* word) { return code.find(word) != std::string::npos; };
  const std::string see_logs = "its log says more: thaw logs " + qualified_name(name).function;
  if (has("OutOfMemory") || has("Memory")) return "give it more memory (thaw deploy … --memory MB); " + see_logs;
  if (has("Init") || has("Port") || has("Readiness")) return "it did not come up; " + see_logs;
  if (kind == "Timeout")
    return "raise its bound (thaw deploy … --timeout S), or look at what it waits for; " + see_logs;
  if (kind == "FunctionFailed") return see_logs;
  if (kind == "Overloaded")
    return "every environment is busy and the queue is full; try later, or raise environments_max";
  if (kind == "Unavailable") return "try again; `thaw status` shows how the daemon is";
  return "";
}

// A failed answer on standard error: the status, what Thaw says about it, and the body where it is the function's own.
void explain(const Session& session, const InvokeOptions& options, const Response& response) {
  boost::system::error_code failed;
  const json::value value = json::parse(response.body, failed);
  const std::string red = session.terminal.err(Color::red, "error:");
  if (!failed && value.is_object()) {
    const json::object& object = value.get_object();
    const std::string kind = text_field(object, "kind");
    const std::string request_id = text_field(object, "requestId");
    if (!kind.empty() && !request_id.empty()) {
      const std::string code = text_field(object, "code");
      std::fprintf(stderr, "%s %d %s%s%s: %s\n", red.c_str(), response.status, printable(kind).c_str(),
                   code.empty() ? "" : " ", printable(code).c_str(), printable(text_field(object, "message")).c_str());
      std::fprintf(stderr, "request id %s\n", printable(request_id).c_str());
      const std::string hint = advice(kind, code, options.name);
      if (!hint.empty()) std::fprintf(stderr, "%s\n", hint.c_str());
      return;
    }
  }
  const std::string body = session.terminal.err_is_terminal() ? printable(response.body) : response.body;
  std::fwrite(body.data(), 1, body.size(), stderr);
  if (!body.empty() && !body.ends_with('\n')) std::fputc('\n', stderr);
  if (is_good(response) || response.status >= 400) {
    std::fprintf(stderr, "%s the function answered with status %d\n", red.c_str(), response.status);
  } else {
    std::fprintf(stderr, "%s the function failed; its log says more: thaw logs %s\n", red.c_str(),
                 qualified_name(options.name).function.c_str());
  }
}

void print_json_answer(const Response& response, std::chrono::milliseconds took) {
  json::object headers;
  for (const auto& [name, value] : response.headers) headers[name] = value;
  json::object answer = {{"StatusCode", response.status}, {"DurationMs", took.count()}, {"Headers", headers}};
  boost::system::error_code failed;
  json::value body = json::parse(response.body, failed);
  if (!failed) {
    answer["Body"] = std::move(body);
  } else if (is_valid_utf8(response.body)) {
    answer["Body"] = response.body;
  } else {
    answer["BodyBytes"] = response.body.size();
  }
  print_json(answer);
}

}  // namespace

int run_invoke(Session& session, const InvokeOptions& options) {
  const bool event = is_event_function(session.client, options.name);
  const Result<Request> request = event ? event_of(options) : request_of(options);
  if (!request.ok()) return report(session, request.error());
  const auto started = std::chrono::steady_clock::now();
  if (session.json()) {
    const Result<Response> response = session.client.send(*request);
    if (!response.ok()) return report(session, response.error());
    print_json_answer(
        *response, std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started));
    return response->ok() && is_good(*response) ? kExitOk : kExitError;
  }
  Response failed;
  bool head_printed = false;
  bool last_is_newline = true;
  const auto print_head = [&](const ResponseHead& head) {
    if (!options.include_head || head_printed) return;
    head_printed = true;
    std::fputs(head_text(head).c_str(), head.ok() ? stdout : stderr);
  };
  Result<ResponseHead> head =
      session.client.stream(*request, [&](const ResponseHead& so_far, std::string_view bytes) -> Status {
        print_head(so_far);
        // Redirects and the like are answers; only errors are kept back, so that no pipeline takes them for the result.
        if (is_good(so_far)) {
          std::fwrite(bytes.data(), 1, bytes.size(), stdout);
          std::fflush(stdout);
          last_is_newline = bytes.ends_with('\n');
        } else {
          failed.body += bytes.substr(0, kErrorBodyBytesMax - std::min(failed.body.size(), kErrorBodyBytesMax));
        }
        return {};
      });
  if (session.terminal.out_is_terminal() && !last_is_newline) std::fputc('\n', stdout);
  if (!head.ok()) return report(session, head.error());
  print_head(*head);
  if (head->ok() && is_good(*head)) return kExitOk;
  static_cast<ResponseHead&>(failed) = std::move(*head);
  if (failed.status == 404) {
    // Either the daemon does not know the function, or the function does not know the path.
    const Error named = with_suggestions(session.client, options.name, error_of(failed));
    if (named.message.starts_with("there is no function")) return report(session, named);
  }
  explain(session, options, failed);
  return kExitError;
}

}  // namespace thaw::cli
