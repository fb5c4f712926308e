#include "onnx/api_json.h"

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>

namespace thaw::onnx {

void append_json_number(double value, std::string& out) {
  std::array<char, 32> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{}) out.append(text.data(), end);
}

void append_json_string(std::string_view text, std::string& out) {
  out += boost::json::serialize(boost::json::string_view(text.data(), text.size()));
}

std::string error_json(const Error& error, std::span<const std::string_view> parameters) {
  boost::json::object body;
  body["kind"] = to_string(error.kind);
  body["message"] = error.message;
  const std::string_view first = std::string_view(error.message).substr(0, error.message.find(':'));
  if (std::find(parameters.begin(), parameters.end(), first) != parameters.end()) body["field"] = first;
  return boost::json::serialize(body) + "\n";
}

void replace_all(std::string& text, std::string_view mark, const std::string& value) {
  for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at + value.size())) {
    text.replace(at, mark.size(), value);
  }
}

}  // namespace thaw::onnx
