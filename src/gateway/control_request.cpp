#include "gateway/control_request.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <random>

namespace thaw::gateway {
namespace {

// Far above what descriptions and names can need.
constexpr std::size_t kJsonBytesMax = 64 << 10;

}  // namespace

bool has(const Query& query, std::string_view name) {
  return std::any_of(query.begin(), query.end(), [&](const auto& pair) { return pair.first == name; });
}

std::string value_of(const Query& query, std::string_view name) {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return {};
}

Result<std::size_t> number_of(const Query& query, std::string_view name, std::size_t otherwise, std::size_t max) {
  const std::string text = value_of(query, name);
  if (text.empty()) return otherwise;
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 1 || number > max) {
    return invalid_argument(std::string(name) + " must be a number from 1 to " + std::to_string(max));
  }
  return number;
}

double draw_weight() {
  thread_local std::minstd_rand generator{std::random_device{}()};
  return std::generate_canonical<double, 32>(generator);
}

Error no_method() { return {ErrorKind::invalid_argument, "this path does not take that method"}; }

Error no_function(std::string_view name) { return {ErrorKind::not_found, "Function not found: " + std::string(name)}; }

http::Task<Result<boost::json::object>> read_json(http::Exchange& exchange) {
  const auto body = co_await exchange.read_whole_body(kJsonBytesMax);
  if (!body.ok()) co_return body.error();
  if (body->empty()) co_return boost::json::object();
  boost::system::error_code failed;
  boost::json::value value = boost::json::parse(*body, failed);
  if (failed || !value.is_object()) co_return invalid_argument("the request body is no JSON object");
  co_return std::move(value.get_object());
}

Result<std::optional<std::string>> string_of(const boost::json::object& object, std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return std::optional<std::string>();
  if (!value->is_string()) return invalid_argument(std::string(key) + " must be a string");
  return std::optional<std::string>(std::string_view(value->get_string()));
}

http::Task<Status> answer_json(http::Exchange& exchange, int status, const boost::json::object& body) {
  const std::string text = boost::json::serialize(body) + "\n";
  co_return co_await exchange.respond({.status = status, .body = text});
}

}  // namespace thaw::gateway
