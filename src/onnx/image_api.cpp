#include "onnx/image_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <charconv>

#include "base/base64.h"
#include "http/message.h"
#include "onnx/api_json.h"
#include "onnx/json_field.h"

namespace thaw::onnx {
namespace {

constexpr std::array<std::string_view, 4> kParameters = {"inputs", "top_k", "function_to_apply", "parameters"};

Error top_k_error() {
  return invalid_argument(fmt::format("top_k: must be a whole number from 1 to {}", kLabelsTopKMax));
}

Result<ScoreFunction> function_named(std::string_view name) {
  if (http::iequals(name, "softmax")) return ScoreFunction::softmax;
  if (http::iequals(name, "sigmoid")) return ScoreFunction::sigmoid;
  if (http::iequals(name, "none")) return ScoreFunction::none;
  return invalid_argument("function_to_apply: must be one of softmax, sigmoid, none");
}

Error unknown(std::string_view what, std::string_view name, std::string_view known) {
  return invalid_argument(fmt::format("unknown {} '{}'; known are {}", what, name.substr(0, 64), known));
}

Status check_photo(const std::string& photo) {
  if (photo.size() <= kPhotoBytesMax) return {};
  return Error{ErrorKind::too_large,
               fmt::format("the picture is {} bytes; at most {} are possible", photo.size(), kPhotoBytesMax)};
}

Result<ClassifyOptions> parse_query_options(std::string_view query) {
  ASSIGN_OR_RETURN(const auto pairs, http::parse_query(query));
  ClassifyOptions options;
  std::vector<std::string_view> seen;
  for (const auto& [name, value] : pairs) {
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      return invalid_argument(fmt::format("{}: is given twice", name.substr(0, 64)));
    }
    seen.push_back(name);
    if (name == "top_k") {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), options.top_k);
      const bool whole = error == std::errc{} && end == value.data() + value.size();
      if (!whole || options.top_k < 1 || options.top_k > kLabelsTopKMax) return top_k_error();
    } else if (name == "function_to_apply") {
      ASSIGN_OR_RETURN(options.function, function_named(value));
    } else {
      return unknown("parameter", name, "top_k, function_to_apply");
    }
  }
  return options;
}

Result<ClassifyOptions> parse_json_options(const boost::json::value& value) {
  ClassifyOptions options;
  if (value.is_null()) return options;
  if (!value.is_object()) return invalid_argument("parameters: must be an object");
  for (const auto& member : value.get_object()) {
    const std::string_view name(member.key().data(), member.key().size());
    const JsonField field(member.value(), std::string(name));
    if (name != "top_k" && name != "function_to_apply") return unknown("parameter", name, "top_k, function_to_apply");
    if (field.is_null()) continue;
    if (name == "top_k") {
      const auto number = field.unsigned_number(kLabelsTopKMax);
      if (!number.ok() || *number == 0) return top_k_error();
      options.top_k = static_cast<std::size_t>(*number);
    } else {
      const auto text = field.string();
      ASSIGN_OR_RETURN(options.function, function_named(text.ok() ? *text : std::string_view()));
    }
  }
  return options;
}

// Base64, bare or in a data URL (RFC 2397).
Result<std::string> decode_inputs(std::string_view text) {
  if (text.empty()) return invalid_argument("inputs: is empty; it must be a photo in base64");
  if (text.starts_with("http:") || text.starts_with("https:")) {
    return invalid_argument("inputs: is an address; it must be the photo itself, in base64 or as a data URL");
  }
  if (text.starts_with("data:")) {
    const std::size_t comma = text.find(',');
    if (comma == std::string_view::npos || !text.substr(0, comma).ends_with(";base64")) {
      return invalid_argument("inputs: a data URL must hold base64: data:image/jpeg;base64,...");
    }
    text.remove_prefix(comma + 1);
  }
  auto photo = base64_decoded(text);
  if (!photo) return invalid_argument("inputs: is no base64");
  return *std::move(photo);
}

}  // namespace

std::optional<BodyKind> body_kind(std::string_view content_type) {
  std::string_view type = content_type.substr(0, content_type.find(';'));
  while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
  if (http::iequals(type, "application/json")) return BodyKind::json;
  for (const std::string_view known : {"", "image/jpeg", "image/jpg", "image/png", "image/webp",
                                       "application/octet-stream", "application/x-www-form-urlencoded"}) {
    if (http::iequals(type, known)) return BodyKind::photo;
  }
  return std::nullopt;
}

Result<Classify> parse_classify_photo(std::string_view query, std::string body) {
  Classify out;
  ASSIGN_OR_RETURN(out.options, parse_query_options(query));
  out.photo = std::move(body);
  RETURN_IF_ERROR(check_photo(out.photo));
  return out;
}

Result<Classify> parse_classify_json(std::string_view body) {
  if (body.empty()) return invalid_argument("the body is empty; it must be a JSON object with inputs");
  ASSIGN_OR_RETURN(const boost::json::value document, parse_json(body, "the body"));
  if (!document.is_object()) return invalid_argument("the body must be a JSON object with inputs");
  Classify out;
  const boost::json::object& members = document.get_object();
  for (const auto& member : members) {
    const std::string_view name(member.key().data(), member.key().size());
    if (name != "inputs" && name != "parameters") return unknown("member", name, "inputs, parameters");
  }
  const boost::json::value* inputs = members.if_contains("inputs");
  if (inputs == nullptr) return invalid_argument("inputs: is missing");
  if (!inputs->is_string()) return invalid_argument("inputs: must be a string: a photo in base64 or a data URL");
  if (const boost::json::value* parameters = members.if_contains("parameters"); parameters != nullptr) {
    ASSIGN_OR_RETURN(out.options, parse_json_options(*parameters));
  }
  ASSIGN_OR_RETURN(out.photo, decode_inputs({inputs->get_string().data(), inputs->get_string().size()}));
  RETURN_IF_ERROR(check_photo(out.photo));
  return out;
}

std::string labels_json(const std::vector<Label>& labels) {
  std::string out = "[";
  for (const Label& label : labels) {
    if (out.size() > 1) out += ',';
    out += "{\"label\":";
    append_json_string(label.label, out);
    out += ",\"score\":";
    append_json_number(label.score, out);
    out += '}';
  }
  return out + "]\n";
}

std::string classify_error_json(const Error& error) { return error_json(error, kParameters); }

std::string classify_hello_json(const ModelConfig& config) {
  const boost::json::object body{{"name", "thaw-onnx"},
                                 {"message", "Hello! Send me a photo: POST / with its bytes."},
                                 {"model", config.name},
                                 {"architecture", config.architecture},
                                 {"task", to_string(Task::image_classification)},
                                 {"links", {{"docs", "docs"}, {"openapi", "openapi.json"}, {"health", "healthz"}}}};
  return boost::json::serialize(body) + "\n";
}

}  // namespace thaw::onnx
