#include "gateway/http_event.h"

#include <algorithm>
#include <boost/json.hpp>
#include <ctime>
#include <optional>

#include "base/base64.h"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kDepthMax = 500;  // of nested objects and arrays, as in events
constexpr int kStatusMin = 200;
constexpr int kStatusMax = 599;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

// Header values and decoded queries may be any bytes; those that are no UTF-8 are read as Latin-1.
std::string utf8(std::string_view text) {
  if (http::is_utf8(text)) return std::string(text);
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xc0 | byte >> 6);
      out += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return out;
}

std::string_view host_of(const HttpCall& call) {
  const std::string_view host = call.head.fields.find("host");
  if (host.empty()) return "localhost";
  if (host.front() == '[') return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

std::string_view port_of(const HttpCall& call) {
  const std::string_view host = call.head.fields.find("host");
  const std::size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.find(']', colon) != std::string_view::npos) return "80";
  return host.substr(colon + 1);
}

void append_joined(json::object& object, std::string_view name, std::string_view value) {
  if (json::value* const before = object.if_contains(name)) {
    json::string& text = before->get_string();
    text.push_back(',');
    text.append(value);
  } else {
    object.emplace(name, value);
  }
}

bool is_set_by_thaw(std::string_view name) {
  return http::iequals(name, "x-forwarded-for") || http::iequals(name, "x-forwarded-prefix") ||
         http::iequals(name, "x-amzn-requestid");
}

json::object headers_of(const HttpCall& call) {
  json::object headers;
  for (const http::Field& field : call.head.fields) {
    if (http::is_hop_by_hop(field.name) || is_set_by_thaw(field.name) || http::iequals(field.name, "cookie")) continue;
    append_joined(headers, utf8(lowered(field.name)), utf8(field.value));
  }
  const std::string_view before = call.head.fields.find("x-forwarded-for");
  headers["x-forwarded-for"] = utf8(before) + (before.empty() ? "" : ", ") + std::string(call.source_ip);
  if (!headers.contains("x-forwarded-proto")) headers["x-forwarded-proto"] = "http";
  if (!headers.contains("x-forwarded-port")) headers["x-forwarded-port"] = utf8(port_of(call));
  if (!call.prefix.empty()) headers["x-forwarded-prefix"] = call.prefix;
  return headers;
}

json::array cookies_of(const http::Fields& fields) {
  json::array cookies;
  for (const http::Field& field : fields) {
    if (!http::iequals(field.name, "cookie")) continue;
    std::string_view rest = field.value;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(';'), rest.size());
      std::string_view cookie = rest.substr(0, end);
      while (!cookie.empty() && cookie.front() == ' ') cookie.remove_prefix(1);
      if (!cookie.empty()) cookies.emplace_back(utf8(cookie));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return cookies;
}

// "12/Mar/2020:19:03:58 +0000".
std::string log_time(std::chrono::system_clock::time_point at) {
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = std::chrono::system_clock::to_time_t(at);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[64];
  const int size = std::snprintf(text, sizeof(text), "%02d/%s/%04d:%02d:%02d:%02d +0000", utc.tm_mday,
                                 kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
  return std::string(text, static_cast<std::size_t>(size));
}

std::int64_t epoch_ms(std::chrono::system_clock::time_point at) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
}

std::string_view protocol_of(const http::RequestHead& head) { return head.http_1_0 ? "HTTP/1.0" : "HTTP/1.1"; }

bool is_text(const HttpCall& call) {
  const std::string type = lowered(call.head.fields.find("content-type"));
  const bool says_text = type.starts_with("text/") || type.find("json") != std::string::npos ||
                         type.find("xml") != std::string::npos || type.find("javascript") != std::string::npos;
  // What is compressed is no text, whatever it becomes.
  return says_text && !call.head.fields.has("content-encoding") && http::is_utf8(call.body);
}

json::object context_of(const HttpCall& call, std::string_view path) {
  const std::string domain = utf8(host_of(call));
  json::object http{{"method", call.head.method},
                    {"path", path},
                    {"protocol", protocol_of(call.head)},
                    {"sourceIp", call.source_ip},
                    {"userAgent", utf8(call.head.fields.find("user-agent"))}};
  return {{"accountId", "anonymous"},  {"apiId", call.function_name},
          {"domainName", domain},      {"domainPrefix", domain.substr(0, domain.find('.'))},
          {"http", std::move(http)},   {"requestId", call.request_id},
          {"routeKey", "$default"},    {"stage", "$default"},
          {"time", log_time(call.at)}, {"timeEpoch", epoch_ms(call.at)}};
}

// ---- The response

Error malformed(std::string_view what) {
  return {ErrorKind::function_failed, "the response is no HTTP answer: " + std::string(what)};
}

bool is_field_name(std::string_view name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  const auto fits = [&](char c) {
    const char l = lower(c);
    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || kMarks.find(c) != std::string_view::npos;
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), fits);
}

bool is_field_value(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == 0x7f; });
}

// The server frames the answer and dates it.
bool is_servers(std::string_view name) {
  return http::is_hop_by_hop(name) || http::iequals(name, "content-length") || http::iequals(name, "date");
}

// Strings, and what frameworks write without quotes.
std::optional<std::string> scalar(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_number() || value.is_bool()) return json::serialize(value);
  return std::nullopt;
}

Result<int> status_of(const json::value& value) {
  std::int64_t status = 0;
  if (value.is_int64()) {
    status = value.get_int64();
  } else if (value.is_string()) {
    const std::string_view text = value.get_string();
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (text.size() == 3 && std::all_of(text.begin(), text.end(), is_digit)) status = std::stoi(std::string(text));
  }
  if (status < kStatusMin || status > kStatusMax) return malformed("statusCode must be a whole number from 200 to 599");
  return static_cast<int>(status);
}

Status add_field(HttpAnswer& answer, std::string_view name, const json::value& value) {
  const auto text = scalar(value);
  if (!text) return malformed("a header must be a string, a number or a boolean");
  if (!is_field_name(name) || !is_field_value(*text))
    return malformed("a header's name or value holds characters that are not possible there");
  if (is_servers(name)) return {};
  if (http::iequals(name, "content-type")) {
    answer.content_type = *text;
  } else {
    answer.fields.emplace_back(name, *text);
  }
  return {};
}

// An object member that may be missing or null.
const json::value* member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Status read_multi_value_headers(const json::value& value, HttpAnswer& answer) {
  if (!value.is_object()) return malformed("multiValueHeaders must be an object");
  for (const auto& [name, items] : value.get_object()) {
    if (!items.is_array()) return malformed("multiValueHeaders must hold arrays");
    std::erase_if(answer.fields, [&](const auto& field) { return http::iequals(field.first, name); });
    for (const json::value& item : items.get_array()) RETURN_IF_ERROR(add_field(answer, name, item));
  }
  return {};
}

Status read_fields(const json::object& response, HttpAnswer& answer) {
  if (const json::value* headers = member(response, "headers")) {
    if (!headers->is_object()) return malformed("headers must be an object");
    for (const auto& [name, value] : headers->get_object()) RETURN_IF_ERROR(add_field(answer, name, value));
  }
  if (const json::value* headers = member(response, "multiValueHeaders"))
    RETURN_IF_ERROR(read_multi_value_headers(*headers, answer));
  if (const json::value* cookies = member(response, "cookies")) {
    if (!cookies->is_array()) return malformed("cookies must be an array");
    for (const json::value& cookie : cookies->get_array()) {
      if (!cookie.is_string()) return malformed("cookies must hold strings");
      RETURN_IF_ERROR(add_field(answer, "Set-Cookie", cookie));
    }
  }
  return {};
}

Status read_body(const json::object& response, HttpAnswer& answer) {
  const json::value* encoded = member(response, "isBase64Encoded");
  if (encoded != nullptr && !encoded->is_bool()) return malformed("isBase64Encoded must be a boolean");
  const json::value* body = member(response, "body");
  if (body == nullptr) return {};
  if (!body->is_string()) return malformed("body must be a string");
  const std::string_view text = body->get_string();
  if (encoded == nullptr || !encoded->get_bool()) {
    answer.body = text;
    return {};
  }
  auto bytes = base64_decoded(text);
  if (!bytes) return malformed("body is not base64");
  answer.body = *std::move(bytes);
  return {};
}

}  // namespace

Result<std::string> http_event(const HttpCall& call) {
  const std::size_t question = call.target.find('?');
  const std::string_view path = call.target.substr(0, question);
  const std::string_view query =
      question == std::string_view::npos ? std::string_view() : call.target.substr(question + 1);
  ASSIGN_OR_RETURN(const auto pairs, http::parse_query(query));
  json::object parameters;
  for (const auto& [name, value] : pairs) append_joined(parameters, utf8(name), utf8(value));
  json::object event{{"version", "2.0"}, {"routeKey", "$default"}, {"rawPath", path}, {"rawQueryString", query}};
  json::array cookies = cookies_of(call.head.fields);
  if (!cookies.empty()) event["cookies"] = std::move(cookies);
  event["headers"] = headers_of(call);
  if (!parameters.empty()) event["queryStringParameters"] = std::move(parameters);
  event["requestContext"] = context_of(call, path);
  const bool encoded = !call.body.empty() && !is_text(call);
  if (encoded) {
    event["body"] = base64_encoded(call.body);
  } else if (!call.body.empty()) {
    event["body"] = call.body;
  }
  event["isBase64Encoded"] = encoded;
  return json::serialize(event);
}

Result<HttpAnswer> http_answer(std::string payload) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  json::error_code failed;
  const json::value response = json::parse(payload, failed, {}, options);
  if (failed) return malformed("it is no JSON");
  HttpAnswer answer;
  if (!response.is_object() || !response.get_object().contains("statusCode")) {
    answer.body = std::move(payload);
    return answer;
  }
  const json::object& object = response.get_object();
  ASSIGN_OR_RETURN(answer.status, status_of(object.at("statusCode")));
  RETURN_IF_ERROR(read_fields(object, answer));
  RETURN_IF_ERROR(read_body(object, answer));
  return answer;
}

}  // namespace thaw::gateway
