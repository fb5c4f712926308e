#include "model/object_reader.h"

#include <algorithm>

namespace thaw::model {
namespace {

// Of a member's name that the caller made up, as messages show it.
constexpr std::size_t kShownBytesMax = 64;

Status check_text(const std::string& what, std::string_view text, ObjectReader::TextBounds bounds) {
  if (text.size() >= bounds.bytes_min && text.size() <= bounds.bytes_max) return {};
  return invalid_argument(what + " is " + std::to_string(text.size()) + " bytes long: it must have " +
                          std::to_string(bounds.bytes_min) + " to " + std::to_string(bounds.bytes_max));
}

}  // namespace

ObjectReader::ObjectReader(const boost::json::object& object, std::string path)
    : object_(object), path_(std::move(path)) {}

std::string ObjectReader::named(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

bool ObjectReader::has(std::string_view key) const {
  const boost::json::value* value = object_.if_contains(key);
  return value != nullptr && !value->is_null();
}

const boost::json::value* ObjectReader::take(std::string_view key) {
  asked_.push_back(key);
  const boost::json::value* value = object_.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<std::optional<std::string>> ObjectReader::text(std::string_view key, TextBounds bounds) {
  const boost::json::value* value = take(key);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) return invalid_argument(named(key) + " must be a string");
  RETURN_IF_ERROR(check_text(named(key), value->get_string(), bounds));
  return std::optional<std::string>(std::string_view(value->get_string()));
}

Result<std::optional<std::vector<std::string>>> ObjectReader::texts(std::string_view key, ListBounds bounds) {
  const boost::json::value* value = take(key);
  if (value == nullptr) return std::optional<std::vector<std::string>>();
  if (!value->is_array()) return invalid_argument(named(key) + " must be a list of strings");
  if (value->get_array().size() > bounds.count_max) {
    return invalid_argument(named(key) + " has " + std::to_string(value->get_array().size()) + " items; at most " +
                            std::to_string(bounds.count_max) + " are possible");
  }
  std::vector<std::string> found;
  for (const boost::json::value& item : value->get_array()) {
    if (!item.is_string()) return invalid_argument(named(key) + " must be a list of strings");
    RETURN_IF_ERROR(check_text("an item of " + named(key), item.get_string(), bounds.each));
    found.emplace_back(item.get_string());
  }
  return std::optional<std::vector<std::string>>(std::move(found));
}

Result<std::optional<std::uint32_t>> ObjectReader::number(std::string_view key, NumberBounds bounds) {
  const boost::json::value* value = take(key);
  if (value == nullptr) return std::optional<std::uint32_t>();
  if (!value->is_int64() || value->get_int64() < bounds.min || value->get_int64() > bounds.max) {
    return invalid_argument(named(key) + " must be a whole number from " + std::to_string(bounds.min) + " to " +
                            std::to_string(bounds.max));
  }
  return std::optional<std::uint32_t>(static_cast<std::uint32_t>(value->get_int64()));
}

Result<std::optional<bool>> ObjectReader::flag(std::string_view key) {
  const boost::json::value* value = take(key);
  if (value == nullptr) return std::optional<bool>();
  if (!value->is_bool()) return invalid_argument(named(key) + " must be true or false");
  return std::optional<bool>(value->get_bool());
}

Result<const boost::json::object*> ObjectReader::object(std::string_view key) {
  const boost::json::value* value = take(key);
  if (value == nullptr) return static_cast<const boost::json::object*>(nullptr);
  if (!value->is_object()) return invalid_argument(named(key) + " must be an object");
  return &value->get_object();
}

Status ObjectReader::finish() const {
  for (const auto& member : object_) {
    const std::string_view key = member.key();
    if (std::find(asked_.begin(), asked_.end(), key) != asked_.end()) continue;
    return invalid_argument(
        (key.size() > kShownBytesMax ? "a member of " + std::to_string(key.size()) + " bytes" : named(key)) +
        " is not possible here");
  }
  return {};
}

}  // namespace thaw::model
