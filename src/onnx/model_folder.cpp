#include "onnx/model_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "base/sys.h"
#include "onnx/json_field.h"

namespace thaw::onnx {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kConfigBytesMax = 4 << 20;
constexpr std::size_t kTokenizerBytesMax = 64 << 20;

bool exists(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

Result<std::string> find_model_file(const std::string& folder) {
  for (const char* name : {"model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx"}) {
    std::string path = folder + "/" + name;
    if (exists(path)) return path;
  }
  std::string only;
  std::error_code error;
  if (!fs::is_directory(folder, error)) return Error{ErrorKind::not_found, fmt::format("{} is not a folder", folder)};
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".onnx") continue;
    if (!only.empty()) {
      return Error{ErrorKind::not_found, "the model folder has several .onnx files and none is called model.onnx"};
    }
    only = entry.path().string();
  }
  if (error) return Error{ErrorKind::not_found, fmt::format("{}: {}", folder, error.message())};
  if (only.empty()) return Error{ErrorKind::not_found, "the model folder has no model.onnx"};
  return only;
}

// A JSON object in the folder; an empty one when the file is not there.
Result<boost::json::value> read_object(const std::string& folder, const std::string& name) {
  if (!exists(folder + "/" + name)) return boost::json::value(boost::json::object{});
  ASSIGN_OR_RETURN(const std::string text, sys::read_file(folder + "/" + name, kConfigBytesMax));
  ASSIGN_OR_RETURN(boost::json::value value, parse_json(text, name));
  if (!value.is_object()) return invalid_argument(name + ": must be an object");
  return value;
}

Result<std::optional<std::size_t>> size_member(const JsonField& object, std::string_view name) {
  ASSIGN_OR_RETURN(const JsonField field, object.member(name));
  if (field.is_null()) return std::optional<std::size_t>();
  ASSIGN_OR_RETURN(const std::uint64_t value, field.unsigned_number(1'000'000'000));
  return std::optional<std::size_t>(value);
}

// A special token: "[CLS]", or {"content": "[CLS]", ...}.
Result<std::string> special_token(const JsonField& object, std::string_view name) {
  ASSIGN_OR_RETURN(const JsonField field, object.member(name));
  if (field.is_null()) return std::string();
  if (field.object().ok()) return field.string_or("content", "");
  ASSIGN_OR_RETURN(const std::string_view text, field.string());
  return std::string(text);
}

Result<Tokenizer> read_tokenizer(const std::string& folder, const JsonField& tokenizer_config) {
  if (exists(folder + "/tokenizer.json")) {
    ASSIGN_OR_RETURN(const std::string text, sys::read_file(folder + "/tokenizer.json", kTokenizerBytesMax));
    return Tokenizer::from_json(text);
  }
  if (!exists(folder + "/vocab.txt")) {
    return Error{ErrorKind::not_found, "the model folder has neither tokenizer.json nor vocab.txt"};
  }
  ASSIGN_OR_RETURN(const std::string text, sys::read_file(folder + "/vocab.txt", kTokenizerBytesMax));
  Tokenizer::VocabTxtOptions options;
  ASSIGN_OR_RETURN(options.lowercase, tokenizer_config.boolean_or("do_lower_case", true));
  ASSIGN_OR_RETURN(options.handle_chinese_chars, tokenizer_config.boolean_or("tokenize_chinese_chars", true));
  ASSIGN_OR_RETURN(const JsonField strip, tokenizer_config.member("strip_accents"));
  if (!strip.is_null()) {
    ASSIGN_OR_RETURN(options.strip_accents, strip.boolean());
  }
  return Tokenizer::from_vocab_txt(text, options);
}

Result<ModelConfig> read_config(const std::string& folder, const boost::json::value& json) {
  ModelConfig config;
  std::error_code error;
  config.name = fs::weakly_canonical(folder, error).filename().string();
  const JsonField object(json, "config.json: ");
  ASSIGN_OR_RETURN(config.model_type, object.string_or("model_type", ""));
  ASSIGN_OR_RETURN(const std::string name, object.string_or("_name_or_path", ""));
  if (!name.empty() && name.front() != '/' && name.front() != '.') config.name = name;
  ASSIGN_OR_RETURN(const JsonField architectures, object.member("architectures"));
  if (!architectures.is_null()) {
    ASSIGN_OR_RETURN(const boost::json::array* elements, architectures.array());
    if (!elements->empty()) {
      ASSIGN_OR_RETURN(config.architecture, architectures.element(0).string());
    }
  }
  ASSIGN_OR_RETURN(config.vocabulary_size, size_member(object, "vocab_size"));
  ASSIGN_OR_RETURN(config.positions_max, size_member(object, "max_position_embeddings"));
  const bool roberta =
      config.model_type == "roberta" || config.model_type == "xlm-roberta" || config.model_type == "camembert";
  if (roberta && config.positions_max) {
    // Positions of these count from the padding id on, so that many fewer tokens fit.
    ASSIGN_OR_RETURN(const std::optional<std::size_t> pad, size_member(object, "pad_token_id"));
    const std::size_t reserved = pad.value_or(1) + 1;
    if (*config.positions_max <= reserved) return invalid_argument("config.json: max_position_embeddings is too small");
    *config.positions_max -= reserved;
  }
  return config;
}

Status read_tokenizer_config(const JsonField& object, const Tokenizer& tokenizer, ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::string side, object.string_or("padding_side", "right"));
  if (side != "right") {
    return Error{ErrorKind::unsupported, "tokenizer_config.json: padding_side must be 'right'"};
  }
  ASSIGN_OR_RETURN(const JsonField length, object.member("model_max_length"));
  // Exporters write 1e30 for "no limit".
  if (const auto number = length.unsigned_number(1'000'000'000); number.ok() && *number > 0) {
    config.tokenizer_max = static_cast<std::size_t>(*number);
  }
  ASSIGN_OR_RETURN(const std::string cls, special_token(object, "cls_token"));
  ASSIGN_OR_RETURN(const std::string pad, special_token(object, "pad_token"));
  for (const std::string& name : {cls, std::string("[CLS]"), std::string("<s>")}) {
    if (!config.cls_id && !name.empty()) config.cls_id = tokenizer.special_id(name);
  }
  for (const std::string& name : {std::string("<pad>"), std::string("[PAD]"), pad}) {
    if (const auto id = tokenizer.special_id(name)) config.pad_id = *id;
  }
  return {};
}

// id2label: an object with the numbers from 0 on as names.
Result<std::vector<std::string>> read_labels(const JsonField& config) {
  ASSIGN_OR_RETURN(const JsonField field, config.member("id2label"));
  if (field.is_null()) return std::vector<std::string>();
  ASSIGN_OR_RETURN(const boost::json::object* members, field.object());
  std::vector<std::string> labels;
  for (std::size_t number = 0; number < members->size(); ++number) {
    ASSIGN_OR_RETURN(const JsonField label, field.required(std::to_string(number)));
    ASSIGN_OR_RETURN(const std::string_view text, label.string());
    labels.emplace_back(text);
  }
  return labels;
}

constexpr std::array<std::pair<Task, std::string_view>, 2> kTasks = {
    {{Task::question_answering, "question-answering"}, {Task::image_classification, "image-classification"}}};

}  // namespace

std::string_view to_string(Task task) {
  return std::find_if(kTasks.begin(), kTasks.end(), [&](const auto& known) { return known.first == task; })->second;
}

std::optional<Task> task_named(std::string_view name) {
  for (const auto& [task, known] : kTasks) {
    if (known == name) return task;
  }
  return std::nullopt;
}

Result<Task> detect_task(const std::string& path) {
  ASSIGN_OR_RETURN(const boost::json::value json, read_object(path, "config.json"));
  ASSIGN_OR_RETURN(const ModelConfig config, read_config(path, json));
  return config.architecture.ends_with("ForImageClassification") ? Task::image_classification
                                                                 : Task::question_answering;
}

Result<ClassifierFolder> read_classifier_folder(const std::string& path) {
  ClassifierFolder folder;
  ASSIGN_OR_RETURN(folder.model_path, find_model_file(path));
  ASSIGN_OR_RETURN(const boost::json::value json, read_object(path, "config.json"));
  ASSIGN_OR_RETURN(folder.config, read_config(path, json));
  const JsonField config(json, "config.json: ");
  ASSIGN_OR_RETURN(folder.labels, read_labels(config));
  ASSIGN_OR_RETURN(folder.problem_type, config.string_or("problem_type", ""));
  if (!exists(path + "/preprocessor_config.json")) {
    return Error{ErrorKind::not_found, "the model folder has no preprocessor_config.json"};
  }
  ASSIGN_OR_RETURN(const std::string text, sys::read_file(path + "/preprocessor_config.json", kConfigBytesMax));
  ASSIGN_OR_RETURN(folder.preprocessor, Preprocessor::from_json(text));
  return folder;
}

Result<ModelFolder> read_model_folder(const std::string& path) {
  ASSIGN_OR_RETURN(std::string model_path, find_model_file(path));
  ASSIGN_OR_RETURN(const boost::json::value config_json, read_object(path, "config.json"));
  ASSIGN_OR_RETURN(const boost::json::value tokenizer_json, read_object(path, "tokenizer_config.json"));
  ASSIGN_OR_RETURN(ModelConfig config, read_config(path, config_json));
  const JsonField tokenizer_config(tokenizer_json, "tokenizer_config.json: ");
  ASSIGN_OR_RETURN(Tokenizer tokenizer, read_tokenizer(path, tokenizer_config));
  RETURN_IF_ERROR(read_tokenizer_config(tokenizer_config, tokenizer, config));
  if (config.vocabulary_size && tokenizer.id_end() > *config.vocabulary_size) {
    return invalid_argument(fmt::format("the tokenizer has ids up to {}, but config.json says vocab_size {}",
                                        tokenizer.id_end() - 1, *config.vocabulary_size));
  }
  return ModelFolder{std::move(model_path), std::move(config), std::move(tokenizer)};
}

}  // namespace thaw::onnx
