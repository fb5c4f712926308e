// Image classification: what a photo shows, with the results that Hugging Face's image-classification pipeline gives.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/decode.h"
#include "onnx/model_folder.h"
#include "onnx/session.h"

namespace thaw::onnx {

inline constexpr std::size_t kLabelsTopKMax = 1000;
inline constexpr std::size_t kLabelsTopKDefault = 5;

// What is done with the model's logits.
enum class ScoreFunction { softmax, sigmoid, none };

struct ClassifyOptions {
  std::size_t top_k = kLabelsTopKDefault;  // 1 to kLabelsTopKMax; more than there are labels is all of them
  std::optional<ScoreFunction> function;   // absent: sigmoid for a model of many labels at once or of one, else softmax
};

struct Label {
  std::string_view label;  // the model's own
  double score = 0;
};

// Threads: classify() from many threads at a time.
class ImageClassification {
 public:
  // Errors: as read_classifier_folder() and Session::load(); unsupported for a model whose signature is another task's,
  // or one that its preprocessor_config.json does not fit.
  static Result<std::unique_ptr<ImageClassification>> load(const std::string& folder, const SessionOptions& options);

  // photo: the bytes of a file. Best first. Errors: as image::decode() and Preprocessor::make_input(); invalid_argument
  // for options out of range, with the parameter's name first and a colon.
  Result<std::vector<Label>> classify(std::string_view photo, const ClassifyOptions& options) const;

  // As classify(), of a picture that is made up: what warms a model up.
  Result<std::vector<Label>> classify_sample() const;

  const ModelConfig& config() const { return folder_.config; }
  const std::vector<std::string>& labels() const { return folder_.labels; }

 private:
  explicit ImageClassification(ClassifierFolder folder) : folder_(std::move(folder)) {}
  Status check_signature();
  ScoreFunction default_function() const;
  Result<std::vector<Label>> run(const Preprocessor::Input& input, const ClassifyOptions& options) const;

  ClassifierFolder folder_;
  std::unique_ptr<Session> session_;
  std::size_t output_ = 0;
};

}  // namespace thaw::onnx
