#include "gateway/http_answer.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>

#include "base/base64.h"
#include "http/message.h"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kDepthMax = 500;  // of nested objects and arrays, as in events
constexpr int kStatusMin = 200;
constexpr int kStatusMax = 599;

Error malformed(std::string_view what) {
  return {ErrorKind::function_failed, "the response is no HTTP answer: " + std::string(what)};
}

bool is_field_name(std::string_view name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  const auto fits = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kMarks.find(c) != std::string_view::npos;
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

Result<json::value> parsed(std::string_view text) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  json::error_code failed;
  json::value value = json::parse({text.data(), text.size()}, failed, {}, options);
  if (failed) return malformed("it is no JSON");
  return value;
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

Result<HttpAnswer> http_answer(std::string payload, PayloadFormat format) {
  ASSIGN_OR_RETURN(const json::value response, parsed(payload));
  HttpAnswer answer;
  if (!response.is_object() || !response.get_object().contains("statusCode")) {
    if (format == PayloadFormat::v1) return malformed("it is no object with a statusCode");
    answer.body = std::move(payload);
    return answer;
  }
  const json::object& object = response.get_object();
  ASSIGN_OR_RETURN(answer.status, status_of(object.at("statusCode")));
  RETURN_IF_ERROR(read_fields(object, answer));
  RETURN_IF_ERROR(read_body(object, answer));
  return answer;
}

Result<std::optional<HttpAnswer>> PreludeReader::read(std::string_view& piece) {
  constexpr std::size_t kZeros = 8;
  std::size_t taken = 0;
  while (taken < piece.size() && zeros_ < kZeros) {
    const char c = piece[taken++];
    if (c == '\0') {
      ++zeros_;
      continue;
    }
    // JSON has no zero bytes.
    if (zeros_ != 0) return malformed("its prelude is not ended by eight zero bytes");
    if (text_.size() == kPreludeBytesMax) {
      return malformed("its prelude is larger than " + std::to_string(kPreludeBytesMax) +
                       " bytes, or not ended by eight zero bytes");
    }
    text_ += c;
  }
  piece.remove_prefix(taken);
  if (zeros_ < kZeros) return std::optional<HttpAnswer>();
  ASSIGN_OR_RETURN(const json::value prelude, parsed(text_));
  if (!prelude.is_object()) return malformed("its prelude is no JSON object");
  HttpAnswer answer;
  answer.content_type = "application/octet-stream";
  const json::object& object = prelude.get_object();
  if (const json::value* status = member(object, "statusCode")) {
    ASSIGN_OR_RETURN(answer.status, status_of(*status));
  }
  RETURN_IF_ERROR(read_fields(object, answer));
  return std::optional<HttpAnswer>(std::move(answer));
}

}  // namespace thaw::gateway
