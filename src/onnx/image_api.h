// The image-classification API's own words: requests, answers in JSON, the OpenAPI description of both. No sockets
// here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "onnx/image_classification.h"

namespace thaw::onnx {

inline constexpr std::size_t kPhotoBytesMax = 20'000'000;
// The largest photo in base64, and room for the rest.
inline constexpr std::size_t kClassifyBodyBytesMax = kPhotoBytesMax / 3 * 4 + 65536;

enum class BodyKind { photo, json };
// By Content-Type, without regard to its parameters. A photo also where it is absent, and for
// application/x-www-form-urlencoded, which curl sends with a file. Nothing for any other.
std::optional<BodyKind> body_kind(std::string_view content_type);

struct Classify {
  std::string photo;
  ClassifyOptions options;
};

// Errors of both: invalid_argument, the message with the parameter's name first and a colon where it is about one;
// too_large for a photo of more than kPhotoBytesMax. Unknown and repeated parameters are errors.
// A photo whose parameters are in the query.
Result<Classify> parse_classify_photo(std::string_view query, std::string body);
// {"inputs": base64 or "data:...;base64,...", "parameters": {...}}.
Result<Classify> parse_classify_json(std::string_view body);

std::string labels_json(const std::vector<Label>& labels);
// {"kind": ..., "message": ..., "field": ...}, as of question answering.
std::string classify_error_json(const Error& error);
std::string classify_hello_json(const ModelConfig& config);
std::string classify_openapi_json(std::string_view model_name, std::size_t label_count);

}  // namespace thaw::onnx
