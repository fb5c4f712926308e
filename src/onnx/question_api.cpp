#include "onnx/question_api.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <charconv>

#include "http/message.h"
#include "onnx/api_json.h"
#include "onnx/json_field.h"

namespace thaw::onnx {
namespace {

constexpr std::array<std::string_view, 9> kParameters = {"question",
                                                         "context",
                                                         "top_k",
                                                         "max_answer_len",
                                                         "max_seq_len",
                                                         "doc_stride",
                                                         "max_question_len",
                                                         "handle_impossible_answer",
                                                         "align_to_words"};
constexpr std::uint64_t kNumberMax = 1'000'000;

// Sets one parameter of an Ask from a query's text or a JSON value.
struct TextValue {
  std::string_view text;

  Result<std::string> string(std::string_view name) const {
    // The bytes are checked where the text is decoded.
    (void)name;
    return std::string(text);
  }
  Result<std::size_t> number(std::string_view name) const {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value > kNumberMax) {
      return invalid_argument(fmt::format("{}: must be a whole number from 0 to {}", name, kNumberMax));
    }
    return static_cast<std::size_t>(value);
  }
  Result<bool> boolean(std::string_view name) const {
    if (text == "true" || text == "1") return true;
    if (text == "false" || text == "0") return false;
    return invalid_argument(fmt::format("{}: must be true or false", name));
  }
};

struct JsonValue {
  const boost::json::value& value;

  Result<std::string> string(std::string_view name) const {
    if (!value.is_string()) return invalid_argument(fmt::format("{}: must be a string", name));
    return std::string(value.get_string());
  }
  Result<std::size_t> number(std::string_view name) const {
    const auto number = JsonField(value, "").unsigned_number(kNumberMax);
    if (!number.ok()) return invalid_argument(fmt::format("{}: must be a whole number from 0 to {}", name, kNumberMax));
    return static_cast<std::size_t>(*number);
  }
  Result<bool> boolean(std::string_view name) const {
    if (!value.is_bool()) return invalid_argument(fmt::format("{}: must be true or false", name));
    return value.get_bool();
  }
};

template <class Value>
Status set(Ask& ask, std::string_view name, const Value& value) {
  QuestionOptions& options = ask.options;
  if (name == "question") {
    ASSIGN_OR_RETURN(ask.question, value.string(name));
  } else if (name == "context") {
    ASSIGN_OR_RETURN(ask.context, value.string(name));
  } else if (name == "top_k") {
    ASSIGN_OR_RETURN(options.top_k, value.number(name));
  } else if (name == "max_answer_len") {
    ASSIGN_OR_RETURN(options.max_answer_len, value.number(name));
  } else if (name == "max_seq_len") {
    ASSIGN_OR_RETURN(options.max_seq_len, value.number(name));
  } else if (name == "doc_stride") {
    ASSIGN_OR_RETURN(options.doc_stride, value.number(name));
  } else if (name == "max_question_len") {
    ASSIGN_OR_RETURN(options.max_question_len, value.number(name));
  } else if (name == "handle_impossible_answer") {
    ASSIGN_OR_RETURN(options.handle_impossible_answer, value.boolean(name));
  } else {
    ASSIGN_OR_RETURN(options.align_to_words, value.boolean(name));
  }
  return {};
}

// Tracks which parameters came.
class Seen {
 public:
  Status add(std::string_view name) {
    const auto found = std::find(kParameters.begin(), kParameters.end(), name);
    if (found == kParameters.end()) {
      return invalid_argument(
          fmt::format("unknown parameter '{}'; known are {}", name.substr(0, 64), fmt::join(kParameters, ", ")));
    }
    bool& seen = seen_[static_cast<std::size_t>(found - kParameters.begin())];
    if (seen) return invalid_argument(fmt::format("{}: is given twice", name));
    seen = true;
    return {};
  }
  Status check_required() const {
    if (!seen_[0]) return invalid_argument("question: is missing");
    if (!seen_[1]) return invalid_argument("context: is missing");
    return {};
  }

 private:
  std::array<bool, kParameters.size()> seen_{};
};

}  // namespace

Result<Ask> parse_ask_query(std::string_view query) {
  ASSIGN_OR_RETURN(const auto pairs, http::parse_query(query));
  Ask ask;
  Seen seen;
  for (const auto& [name, value] : pairs) {
    RETURN_IF_ERROR(seen.add(name));
    RETURN_IF_ERROR(set(ask, name, TextValue{value}));
  }
  RETURN_IF_ERROR(seen.check_required());
  return ask;
}

Result<Ask> parse_ask_json(std::string_view body) {
  if (body.empty()) return invalid_argument("the body is empty; it must be a JSON object with question and context");
  ASSIGN_OR_RETURN(const boost::json::value document, parse_json(body, "the body"));
  if (!document.is_object()) return invalid_argument("the body must be a JSON object with question and context");
  Ask ask;
  Seen seen;
  for (const auto& member : document.get_object()) {
    const std::string_view name(member.key().data(), member.key().size());
    RETURN_IF_ERROR(seen.add(name));
    RETURN_IF_ERROR(set(ask, name, JsonValue{member.value()}));
  }
  RETURN_IF_ERROR(seen.check_required());
  return ask;
}

std::string answers_json(const std::vector<Answer>& answers, std::size_t top_k) {
  std::string out;
  const bool array = top_k > 1;
  if (array) out += '[';
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (i > 0) out += ',';
    out += "{\"score\":";
    append_json_number(answers[i].score, out);
    out += fmt::format(",\"start\":{},\"end\":{},\"answer\":", answers[i].start, answers[i].end);
    append_json_string(answers[i].answer, out);
    out += '}';
  }
  if (array) out += ']';
  out += '\n';
  return out;
}

std::string question_error_json(const Error& error) { return error_json(error, kParameters); }

std::string hello_json(const ModelConfig& config) {
  const boost::json::object body{{"name", "thaw-onnx"},
                                 {"message", "Hello! Ask me about a text."},
                                 {"model", config.name},
                                 {"architecture", config.architecture},
                                 {"task", to_string(Task::question_answering)},
                                 {"links",
                                  {{"question",
                                    "question?question=What+is+the+color+of+my+car+now%3F&context="
                                    "My+car+used+to+be+blue+but+I+painted+red"},
                                   {"docs", "docs"},
                                   {"openapi", "openapi.json"},
                                   {"health", "healthz"}}}};
  return boost::json::serialize(body) + "\n";
}

}  // namespace thaw::onnx
