#include "onnx/json_field.h"

#include <fmt/format.h>
#include <boost/json/parse.hpp>
#include <cmath>

namespace thaw::onnx {

Result<boost::json::value> parse_json(std::string_view text, std::string_view document) {
  boost::json::parse_options options;
  options.max_depth = kJsonDepthMax;
  boost::json::error_code error;
  boost::json::value value = boost::json::parse({text.data(), text.size()}, error, {}, options);
  if (error) return invalid_argument(fmt::format("{}: not JSON ({})", document, error.message()));
  return value;
}

Result<JsonField> JsonField::member(std::string_view name) const {
  ASSIGN_OR_RETURN(const boost::json::object* members, object());
  std::string path = fmt::format("{}{}{}", path_, path_.ends_with(": ") ? "" : ".", name);
  const boost::json::value* found = members->if_contains({name.data(), name.size()});
  if (found == nullptr || found->is_null()) return JsonField(std::move(path));
  return JsonField(*found, std::move(path));
}

Result<JsonField> JsonField::required(std::string_view name) const {
  ASSIGN_OR_RETURN(JsonField found, member(name));
  if (found.is_null()) return invalid_argument(found.path() + " is missing");
  return found;
}

Result<const boost::json::object*> JsonField::object() const {
  if (is_null() || !value_->is_object()) return must_be("an object");
  return &value_->get_object();
}

Result<const boost::json::array*> JsonField::array() const {
  if (is_null() || !value_->is_array()) return must_be("an array");
  return &value_->get_array();
}

JsonField JsonField::element(std::size_t index) const {
  return {value_->get_array()[index], fmt::format("{}[{}]", path_, index)};
}

Result<std::string_view> JsonField::string() const {
  if (is_null() || !value_->is_string()) return must_be("a string");
  const boost::json::string& text = value_->get_string();
  return std::string_view(text.data(), text.size());
}

Result<std::uint64_t> JsonField::unsigned_number(std::uint64_t max) const {
  if (!is_null()) {
    if (value_->is_int64() && value_->get_int64() >= 0 && static_cast<std::uint64_t>(value_->get_int64()) <= max) {
      return static_cast<std::uint64_t>(value_->get_int64());
    }
    if (value_->is_uint64() && value_->get_uint64() <= max) return value_->get_uint64();
  }
  return must_be(fmt::format("a whole number from 0 to {}", max));
}

Result<double> JsonField::number() const {
  if (is_null() || !value_->is_number()) return must_be("a number");
  const auto value = value_->to_number<double>();
  if (!std::isfinite(value)) return must_be("a finite number");
  return value;
}

Result<bool> JsonField::boolean() const {
  if (is_null() || !value_->is_bool()) return must_be("true or false");
  return value_->get_bool();
}

Result<std::string> JsonField::string_or(std::string_view name, std::string_view fallback) const {
  ASSIGN_OR_RETURN(const JsonField found, member(name));
  if (found.is_null()) return std::string(fallback);
  ASSIGN_OR_RETURN(const std::string_view text, found.string());
  return std::string(text);
}

Result<bool> JsonField::boolean_or(std::string_view name, std::optional<bool> fallback) const {
  ASSIGN_OR_RETURN(const JsonField found, member(name));
  if (found.is_null() && fallback) return *fallback;
  return found.boolean();
}

Error JsonField::must_be(std::string_view what) const {
  return invalid_argument(fmt::format("{} must be {}", path_, what));
}

}  // namespace thaw::onnx
