#include "gateway/model_finder.h"

#include <boost/json/basic_parser_impl.hpp>
#include <cstdint>
#include <limits>

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::string_view kKey = "model";

// What basic_parser calls. Keys and values are kept only as far as they can matter.
class Handler {
 public:
  static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_array_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_key_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_string_size = std::numeric_limits<std::size_t>::max();

  enum class Found : std::uint8_t { nothing, string, other };
  Found found = Found::nothing;
  std::string value;
  bool is_object = false;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    if (depth_ == 0) is_object = true;
    return descend();
  }
  bool on_object_end(std::size_t, json::error_code&) { return ascend(); }
  bool on_array_begin(json::error_code&) { return descend(); }
  bool on_array_end(std::size_t, json::error_code&) { return ascend(); }
  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    keep(key_, part, kKey.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    keep(key_, part, kKey.size());
    is_model_ = depth_ == 1 && is_object && key_ == kKey;
    key_.clear();
    if (is_model_) value.clear();
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, json::error_code&) {
    if (at_model()) keep(value, part, kModelNameBytesMax);
    return true;
  }
  bool on_string(json::string_view part, std::size_t, json::error_code&) {
    if (at_model()) {
      keep(value, part, kModelNameBytesMax);
      found = Found::string;
      is_model_ = false;
    }
    return true;
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t, json::string_view, json::error_code&) { return take_other(); }
  bool on_uint64(std::uint64_t, json::string_view, json::error_code&) { return take_other(); }
  bool on_double(double, json::string_view, json::error_code&) { return take_other(); }
  bool on_bool(bool, json::error_code&) { return take_other(); }
  bool on_null(json::error_code&) { return take_other(); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  bool at_model() const { return is_model_ && depth_ == 1; }
  bool take_other() {
    if (at_model()) {
      found = Found::other;
      is_model_ = false;
    }
    return true;
  }
  bool descend() {
    take_other();
    ++depth_;
    return true;
  }
  bool ascend() {
    --depth_;
    return true;
  }
  // One byte more than matters tells a longer text from one that just fits.
  static void keep(std::string& text, json::string_view part, std::size_t bytes_max) {
    const std::size_t room = bytes_max + 1 - std::min(text.size(), bytes_max + 1);
    text.append(part.data(), std::min(part.size(), room));
  }

  std::size_t depth_ = 0;
  std::string key_;
  bool is_model_ = false;  // the value that comes next is the model
};

json::parse_options options() {
  json::parse_options options;
  options.max_depth = kJsonDepthMax;
  return options;
}

Error no_json(const std::string& why) {
  return invalid_argument("the request body is not the JSON object that this path takes: " + why);
}

}  // namespace

struct ModelFinder::Parser {
  json::basic_parser<Handler> parser{options()};
};

ModelFinder::ModelFinder() : parser_(std::make_unique<Parser>()) {}
ModelFinder::~ModelFinder() = default;
ModelFinder::ModelFinder(ModelFinder&&) noexcept = default;

Status ModelFinder::write(std::string_view piece) {
  if (piece.empty()) return {};
  json::error_code error;
  const std::size_t used = parser_->parser.write_some(true, piece.data(), piece.size(), error);
  if (error) return no_json(error.message());
  if (used < piece.size()) return no_json("something follows its end");
  return {};
}

Result<std::string> ModelFinder::finish() {
  json::error_code error;
  if (!parser_->parser.done()) parser_->parser.write_some(false, "", 0, error);
  if (error) return no_json(error.message());
  Handler& handler = parser_->parser.handler();
  if (!handler.is_object) return no_json("it is another kind of JSON value");
  switch (handler.found) {
    case Handler::Found::nothing:
      return Error{ErrorKind::invalid_argument, "you must provide a model: the name of a function", kModelMissing};
    case Handler::Found::other:
      return Error{ErrorKind::invalid_argument, "model must be a string: the name of a function", kModelNoString};
    case Handler::Found::string:
      break;
  }
  if (handler.value.empty()) {
    return Error{ErrorKind::invalid_argument, "model is empty: it must be the name of a function", kModelMissing};
  }
  if (handler.value.size() > kModelNameBytesMax) {
    return Error{ErrorKind::not_found,
                 "there is no function with a name of more than " + std::to_string(kModelNameBytesMax) + " bytes",
                 kModelNotFound};
  }
  return std::move(handler.value);
}

}  // namespace thaw::gateway
