// Typed access to a parsed JSON document, for files that come from anywhere: every failure names the file and the field
// ("tokenizer.json: model.vocab must be an object").
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::onnx {

inline constexpr std::size_t kJsonDepthMax = 32;

// Errors: invalid_argument naming `document` when the text is not JSON or nests deeper than kJsonDepthMax.
Result<boost::json::value> parse_json(std::string_view text, std::string_view document);

// A value and the way to it. Ownership: borrows the document.
class JsonField {
 public:
  JsonField(const boost::json::value& value, std::string path) : value_(&value), path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  bool is_null() const { return value_ == nullptr || value_->is_null(); }
  // A member of an object; a null field when the member is absent or null. Errors: this is not an object.
  Result<JsonField> member(std::string_view name) const;
  // As member(), and absence is an error.
  Result<JsonField> required(std::string_view name) const;

  Result<const boost::json::object*> object() const;
  Result<const boost::json::array*> array() const;
  JsonField element(std::size_t index) const;
  Result<std::string_view> string() const;
  // A whole number from 0 to max.
  Result<std::uint64_t> unsigned_number(std::uint64_t max) const;
  // A finite number.
  Result<double> number() const;
  Result<bool> boolean() const;

  // Members with a value for absence.
  Result<std::string> string_or(std::string_view name, std::string_view fallback) const;
  Result<bool> boolean_or(std::string_view name, std::optional<bool> fallback) const;

  // "PATH must be WHAT".
  Error must_be(std::string_view what) const;

 private:
  explicit JsonField(std::string path) : path_(std::move(path)) {}

  const boost::json::value* value_ = nullptr;
  std::string path_;
};

}  // namespace thaw::onnx
