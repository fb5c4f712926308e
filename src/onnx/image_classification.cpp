#include "onnx/image_classification.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace thaw::onnx {
namespace {

constexpr image::Size kSampleSize{320, 240};

Error signature_error(std::string what) {
  return {ErrorKind::unsupported, "the model is not one for image classification: " + std::move(what)};
}

std::string shape_of(const TensorSpec& spec) {
  std::string out;
  for (const std::int64_t size : spec.shape) out += fmt::format("{}{}", out.empty() ? "" : ", ", size);
  return out;
}

void apply(ScoreFunction function, std::vector<double>& scores) {
  if (function == ScoreFunction::sigmoid) {
    for (double& score : scores) score = 1 / (1 + std::exp(-score));
  } else if (function == ScoreFunction::softmax) {
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - largest);
    for (double& score : scores) score /= sum;
  }
}

}  // namespace

Result<std::unique_ptr<ImageClassification>> ImageClassification::load(const std::string& folder,
                                                                       const SessionOptions& options) {
  ASSIGN_OR_RETURN(ClassifierFolder read, read_classifier_folder(folder));
  std::unique_ptr<ImageClassification> model(new ImageClassification(std::move(read)));
  const std::string& architecture = model->config().architecture;
  if (!architecture.empty() && !architecture.ends_with("ForImageClassification")) {
    return signature_error(fmt::format("config.json: architectures names '{}'", architecture));
  }
  ASSIGN_OR_RETURN(model->session_, Session::load(model->folder_.model_path, options));
  RETURN_IF_ERROR(model->check_signature());
  return model;
}

Status ImageClassification::check_signature() {
  const auto& inputs = session_->inputs();
  const auto& outputs = session_->outputs();
  if (inputs.size() != 1) return signature_error(fmt::format("it has {} inputs, not one", inputs.size()));
  const std::vector<std::int64_t>& shape = inputs[0].shape;
  const auto is = [](std::int64_t size, std::int64_t wanted) { return size == wanted || size < 0; };
  if (inputs[0].type != ElementType::float32 || shape.size() != 4 || !is(shape[0], 1) ||
      !is(shape[1], image::kChannels)) {
    return signature_error(fmt::format("its input '{}' is {} [{}], not float32 [batch, 3, height, width]",
                                       inputs[0].name, to_string(inputs[0].type), shape_of(inputs[0])));
  }
  const auto found =
      std::find_if(outputs.begin(), outputs.end(), [](const TensorSpec& spec) { return spec.name == "logits"; });
  if (found != outputs.end()) output_ = static_cast<std::size_t>(found - outputs.begin());
  if (outputs.empty() || outputs[output_].type != ElementType::float32 || outputs[output_].shape.size() != 2) {
    return signature_error("it has no output 'logits' of float32 [batch, labels]");
  }
  const std::int64_t count = outputs[output_].shape[1];
  if (folder_.labels.empty()) {
    if (count < 1) return signature_error("config.json has no id2label, and the output's size is not fixed");
    for (std::int64_t i = 0; i < count; ++i) folder_.labels.push_back(fmt::format("LABEL_{}", i));
  }
  if (!is(count, static_cast<std::int64_t>(folder_.labels.size()))) {
    return signature_error(
        fmt::format("it has {} labels, and config.json's id2label {}", count, folder_.labels.size()));
  }
  if (shape[2] < 0 && shape[3] < 0) return {};
  const auto size = folder_.preprocessor.fixed_size();
  if (!size || !is(shape[2], size->height) || !is(shape[3], size->width)) {
    return signature_error(fmt::format(
        "its input is [{}], and preprocessor_config.json makes {}", shape_of(inputs[0]),
        size ? fmt::format("pictures of {} x {}", size->width, size->height) : "pictures of no fixed size"));
  }
  return {};
}

ScoreFunction ImageClassification::default_function() const {
  const bool sigmoid = folder_.problem_type == "multi_label_classification" || folder_.labels.size() == 1;
  return sigmoid ? ScoreFunction::sigmoid : ScoreFunction::softmax;
}

Result<std::vector<Label>> ImageClassification::classify(std::string_view photo, const ClassifyOptions& options) const {
  if (options.top_k < 1 || options.top_k > kLabelsTopKMax) {
    return invalid_argument(fmt::format("top_k: must be from 1 to {}, not {}", kLabelsTopKMax, options.top_k));
  }
  Preprocessor::Input input;
  {
    // The photo's own pixels are not needed while the model runs.
    ASSIGN_OR_RETURN(const image::Picture picture, image::decode(photo));
    ASSIGN_OR_RETURN(input, folder_.preprocessor.make_input(picture));
  }
  return run(input, options);
}

Result<std::vector<Label>> ImageClassification::classify_sample() const {
  image::Picture sample{kSampleSize, {}};
  for (std::size_t i = 0; i < kSampleSize.pixels() * image::kChannels; ++i) {
    sample.rgb.push_back(static_cast<std::uint8_t>(i));
  }
  ASSIGN_OR_RETURN(const Preprocessor::Input input, folder_.preprocessor.make_input(sample));
  return run(input, {});
}

Result<std::vector<Label>> ImageClassification::run(const Preprocessor::Input& input,
                                                    const ClassifyOptions& options) const {
  const std::array<std::int64_t, 4> shape{1, image::kChannels, input.size.height, input.size.width};
  ASSIGN_OR_RETURN(const std::vector<float> logits, session_->run({input.values, shape}, output_));
  if (logits.size() != folder_.labels.size())
    return internal_error("the model gave another number of logits than labels");
  std::vector<double> scores(logits.begin(), logits.end());
  apply(options.function.value_or(default_function()), scores);

  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  order.resize(std::min(order.size(), options.top_k));
  std::vector<Label> labels;
  for (const std::size_t number : order) labels.push_back({folder_.labels[number], scores[number]});
  return labels;
}

}  // namespace thaw::onnx
