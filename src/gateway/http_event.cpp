#include "gateway/http_event.h"

#include <algorithm>
#include <boost/json.hpp>
#include <ctime>

#include "base/base64.h"
#include "model/function.h"
#include "model/place.h"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

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
  // What is compressed is no text, whatever it becomes.
  if (call.head.fields.has("content-encoding") || !http::is_utf8(call.body)) return false;
  if (call.format == PayloadFormat::v1) return true;
  const std::string type = lowered(call.head.fields.find("content-type"));
  return type.starts_with("text/") || type.find("json") != std::string::npos || type.find("xml") != std::string::npos ||
         type.find("javascript") != std::string::npos;
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

using Pairs = std::vector<std::pair<std::string, std::string>>;

void put_body(const HttpCall& call, json::object& event) {
  const bool encoded = !call.body.empty() && !is_text(call);
  if (encoded) {
    event["body"] = base64_encoded(call.body);
  } else if (!call.body.empty()) {
    event["body"] = call.body;
  }
  event["isBase64Encoded"] = encoded;
}

json::object event_v2(const HttpCall& call, std::string_view path, std::string_view query, const Pairs& pairs) {
  json::object parameters;
  for (const auto& [name, value] : pairs) append_joined(parameters, utf8(name), utf8(value));
  json::object event{{"version", "2.0"}, {"routeKey", "$default"}, {"rawPath", path}, {"rawQueryString", query}};
  json::array cookies = cookies_of(call.head.fields);
  if (!cookies.empty()) event["cookies"] = std::move(cookies);
  event["headers"] = headers_of(call);
  if (!parameters.empty()) event["queryStringParameters"] = std::move(parameters);
  event["requestContext"] = context_of(call, path);
  put_body(call, event);
  return event;
}

// ---- Format 1.0

// Each name with its last value, and with all of them; null where there are none, as API Gateway writes it.
struct Values {
  json::object last;
  json::object all;

  void add(std::string_view name, std::string_view value) {
    last[name] = value;
    json::value& list = all[name];
    if (!list.is_array()) list.emplace_array();
    list.get_array().emplace_back(value);
  }
  void put(json::object& event, const char* last_key, const char* all_key) && {
    const bool none = last.empty();
    event[last_key] = none ? json::value() : json::value(std::move(last));
    event[all_key] = none ? json::value() : json::value(std::move(all));
  }
};

// Names as they were sent; that of a field that comes twice is its first.
Values headers_v1(const HttpCall& call) {
  Values values;
  for (const http::Field& field : call.head.fields) {
    if (http::is_hop_by_hop(field.name) || is_set_by_thaw(field.name)) continue;
    std::string name = utf8(field.name);
    for (const auto& before : values.last) {
      if (http::iequals(before.key(), name)) name = before.key();
    }
    values.add(name, utf8(field.value));
  }
  const std::string_view before = call.head.fields.find("x-forwarded-for");
  values.add("X-Forwarded-For", utf8(before) + (before.empty() ? "" : ", ") + std::string(call.source_ip));
  if (!call.head.fields.has("x-forwarded-proto")) values.add("X-Forwarded-Proto", "http");
  if (!call.head.fields.has("x-forwarded-port")) values.add("X-Forwarded-Port", utf8(port_of(call)));
  if (!call.prefix.empty()) values.add("X-Forwarded-Prefix", call.prefix);
  return values;
}

json::object context_v1(const HttpCall& call, std::string_view path, std::string_view resource) {
  const std::string domain = utf8(host_of(call));
  json::object identity;
  for (const char* key :
       {"accessKey", "accountId", "caller", "cognitoAuthenticationProvider", "cognitoAuthenticationType",
        "cognitoIdentityId", "cognitoIdentityPoolId", "principalOrgId", "user", "userArn"})
    identity[key] = nullptr;
  identity["sourceIp"] = call.source_ip;
  identity["userAgent"] = utf8(call.head.fields.find("user-agent"));
  std::string whole_path = call.stage.empty() ? "" : "/" + std::string(call.stage);
  whole_path += path;
  return {{"accountId", model::place().account},
          {"apiId", call.function_name},
          {"domainName", domain},
          {"domainPrefix", domain.substr(0, domain.find('.'))},
          {"extendedRequestId", call.request_id},
          {"httpMethod", call.head.method},
          {"identity", std::move(identity)},
          {"path", whole_path},
          {"protocol", protocol_of(call.head)},
          {"requestId", call.request_id},
          {"requestTime", log_time(call.at)},
          {"requestTimeEpoch", epoch_ms(call.at)},
          {"resourceId", resource},
          {"resourcePath", resource},
          {"stage", call.stage.empty() ? std::string_view("$default") : call.stage}};
}

json::object event_v1(const HttpCall& call, std::string_view path, const Pairs& pairs) {
  // The root is a resource of its own: {proxy+} stands for at least one segment.
  const std::string_view resource = path == "/" ? "/" : "/{proxy+}";
  json::object event{{"resource", resource}, {"path", path}, {"httpMethod", call.head.method}};
  // Of the two kinds of APIs only those with a default stage say the version.
  if (call.stage.empty()) event["version"] = "1.0";
  headers_v1(call).put(event, "headers", "multiValueHeaders");
  Values parameters;
  for (const auto& [name, value] : pairs) parameters.add(utf8(name), utf8(value));
  std::move(parameters).put(event, "queryStringParameters", "multiValueQueryStringParameters");
  event["pathParameters"] = path == "/" ? json::value() : json::value(json::object{{"proxy", path.substr(1)}});
  event["stageVariables"] = nullptr;
  event["requestContext"] = context_v1(call, path, resource);
  event["body"] = nullptr;
  put_body(call, event);
  return event;
}

}  // namespace

Result<std::string> http_event(const HttpCall& call) {
  const std::size_t question = call.target.find('?');
  const std::string_view path = call.target.substr(0, question);
  const std::string_view query =
      question == std::string_view::npos ? std::string_view() : call.target.substr(question + 1);
  ASSIGN_OR_RETURN(const auto pairs, http::parse_query(query));
  return json::serialize(call.format == PayloadFormat::v1 ? event_v1(call, path, pairs)
                                                          : event_v2(call, path, query, pairs));
}

}  // namespace thaw::gateway
