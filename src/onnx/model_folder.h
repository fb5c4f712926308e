// A model folder as Hugging Face's exporters lay it out: model.onnx (or onnx/model.onnx), config.json, and
// tokenizer.json or vocab.txt, with tokenizer_config.json where there is one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/result.h"
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

// Errors: not_found naming the file that is missing; invalid_argument naming file and field; unsupported.
Result<ModelFolder> read_model_folder(const std::string& path);

}  // namespace thaw::onnx
