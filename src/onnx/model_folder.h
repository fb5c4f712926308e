// A model folder as Hugging Face's exporters lay it out: model.onnx (or onnx/model.onnx), config.json, and what belongs
// to the task: tokenizer.json or vocab.txt, with tokenizer_config.json where there is one, for text;
// preprocessor_config.json for pictures.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "onnx/preprocessor.h"
#include "onnx/tokenizer.h"

namespace thaw::onnx {

struct ModelConfig {
  std::string name;          // for people: the folder's own name, or what config.json calls it
  std::string model_type;    // "bert", "distilbert", "roberta", ...
  std::string architecture;  // "BertForQuestionAnswering"; empty when not told
  std::optional<std::size_t> vocabulary_size;
  // Tokens that fit into a row; absent when not told.
  std::optional<std::size_t> positions_max;  // by the model's position embeddings
  std::optional<std::size_t> tokenizer_max;  // by the tokenizer's model_max_length
  std::optional<TokenId> cls_id;
  TokenId pad_id = 0;
};

struct ModelFolder {
  std::string model_path;  // the ONNX file
  ModelConfig config;
  Tokenizer tokenizer;
};

// Errors, here and below: not_found naming the file that is missing; invalid_argument naming file and field;
// unsupported.
Result<ModelFolder> read_model_folder(const std::string& path);

enum class Task { question_answering, image_classification };
std::string_view to_string(Task task);
// Nothing for a name that no task has.
std::optional<Task> task_named(std::string_view name);
// By what config.json calls the architecture; question answering where it says nothing.
Result<Task> detect_task(const std::string& path);

struct ClassifierFolder {
  std::string model_path;
  ModelConfig config;
  std::vector<std::string> labels;  // by number, without a gap; empty when config.json has no id2label
  std::string problem_type;         // "single_label_classification", "multi_label_classification", or empty
  Preprocessor preprocessor;
};
Result<ClassifierFolder> read_classifier_folder(const std::string& path);

}  // namespace thaw::onnx
