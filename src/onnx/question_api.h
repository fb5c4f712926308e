// The question-answering API's own words: requests in query strings and JSON, answers and errors in JSON, the OpenAPI
// description of both. No sockets here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "onnx/question_answering.h"

namespace thaw::onnx {

inline constexpr std::size_t kBodyBytesMax = 1 << 20;

struct Ask {
  std::string question;
  std::string context;
  QuestionOptions options;
};

// Errors of both: invalid_argument, the message with the parameter's name first and a colon where it is about one.
// Unknown and repeated parameters are errors.
Result<Ask> parse_ask_query(std::string_view query);
Result<Ask> parse_ask_json(std::string_view body);

// An object for top_k = 1, an array otherwise.
std::string answers_json(const std::vector<Answer>& answers, std::size_t top_k);
// {"kind": ..., "message": ..., "field": ...}; the field is what the message's first word names, if it is a parameter.
std::string question_error_json(const Error& error);
std::string hello_json(const ModelConfig& config);
// model_name and sequence_max become part of the description.
std::string openapi_json(std::string_view model_name, std::size_t sequence_max);

}  // namespace thaw::onnx
