#include "onnx/session.h"

#include <fmt/format.h>
#include <onnxruntime_cxx_api.h>

#include <cstdlib>
#include <filesystem>

namespace thaw::onnx {
namespace {

// ONNX Runtime 1.30 for Linux reports its use to its makers, keeps a database for that in $HOME and runs threads that
// upload it, unless this variable is there when its environment is made. A function reports to nobody.
Ort::Env make_environment() {
  ::setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  return Ort::Env(ORT_LOGGING_LEVEL_FATAL, "thaw-onnx");
}

ElementType element_type(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return ElementType::float32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return ElementType::int32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return ElementType::int64;
    default:
      return ElementType::other;
  }
}

// The first line of ONNX Runtime's message without the path of the file.
std::string first_line(std::string text, const std::string& path) {
  if (const auto end = text.find('\n'); end != std::string::npos) text.resize(end);
  if (path.empty()) return text;
  for (auto at = text.find(path); at != std::string::npos; at = text.find(path)) text.erase(at, path.size());
  return text;
}

Error load_error(const Ort::Exception& exception, const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  const std::string reason = first_line(exception.what(), path);
  switch (exception.GetOrtErrorCode()) {
    case ORT_INVALID_PROTOBUF:
      return {ErrorKind::corrupt, fmt::format("{} is not an ONNX model, or is cut short ({})", name, reason)};
    case ORT_NO_SUCHFILE:
      return {ErrorKind::not_found, fmt::format("{} cannot be opened ({})", name, reason)};
    case ORT_NOT_IMPLEMENTED:
      return {ErrorKind::unsupported, fmt::format("{}: {}", name, reason)};
    default:
      return {ErrorKind::corrupt, fmt::format("{} cannot be loaded ({})", name, reason)};
  }
}

template <class Count, class Name, class Type>
std::vector<TensorSpec> specs(Count count, Name name, Type type) {
  std::vector<TensorSpec> out;
  for (std::size_t i = 0; i < count; ++i) {
    TensorSpec spec;
    spec.name = name(i);
    const Ort::TypeInfo info = type(i);
    if (info.GetONNXType() == ONNX_TYPE_TENSOR) {
      const auto tensor = info.GetTensorTypeAndShapeInfo();
      spec.type = element_type(tensor.GetElementType());
      spec.shape = tensor.GetShape();
    }
    out.push_back(std::move(spec));
  }
  return out;
}

}  // namespace

std::string_view to_string(ElementType type) {
  switch (type) {
    case ElementType::float32:
      return "float32";
    case ElementType::int32:
      return "int32";
    case ElementType::int64:
      return "int64";
    case ElementType::other:
      break;
  }
  return "another type";
}

struct Session::Impl {
  Ort::Env env = make_environment();
  Ort::Session session{nullptr};
  Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<const char*> input_names;
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::load(const std::string& path, const SessionOptions& options) {
  try {
    Ort::SessionOptions ort;
    ort.SetIntraOpNumThreads(static_cast<int>(options.threads));
    ort.SetInterOpNumThreads(1);
    ort.SetExecutionMode(ORT_SEQUENTIAL);
    ort.SetGraphOptimizationLevel(ORT_ENABLE_ALL);
    ort.AddConfigEntry("session.intra_op.allow_spinning", options.waiting == SessionOptions::Waiting::spin ? "1" : "0");
    auto impl = std::make_unique<Impl>();
    impl->session = Ort::Session(impl->env, path.c_str(), ort);
    std::unique_ptr<Session> session(new Session(std::move(impl)));
    const Ort::Session& loaded = session->impl_->session;
    Ort::AllocatorWithDefaultOptions allocator;
    session->inputs_ = specs(
        loaded.GetInputCount(),
        [&](std::size_t i) { return std::string(loaded.GetInputNameAllocated(i, allocator).get()); },
        [&](std::size_t i) { return loaded.GetInputTypeInfo(i); });
    session->outputs_ = specs(
        loaded.GetOutputCount(),
        [&](std::size_t i) { return std::string(loaded.GetOutputNameAllocated(i, allocator).get()); },
        [&](std::size_t i) { return loaded.GetOutputTypeInfo(i); });
    for (const TensorSpec& input : session->inputs_) session->impl_->input_names.push_back(input.name.c_str());
    return session;
  } catch (const Ort::Exception& exception) {
    return load_error(exception, path);
  } catch (const std::exception& exception) {
    return internal_error(fmt::format("ONNX Runtime: {}", first_line(exception.what(), path)));
  }
}

Result<std::vector<std::vector<float>>> Session::run(std::span<const std::vector<std::int64_t>* const> inputs,
                                                     Shape shape, std::span<const std::size_t> wanted) const {
  if (inputs.size() != inputs_.size()) return internal_error("the number of inputs is not the model's");
  const std::array<std::int64_t, 2> dimensions{static_cast<std::int64_t>(shape.rows),
                                               static_cast<std::int64_t>(shape.columns)};
  const std::size_t count = shape.rows * shape.columns;
  try {
    std::vector<Ort::Value> values;
    std::vector<std::vector<std::int32_t>> narrowed;
    values.reserve(inputs.size());
    narrowed.reserve(inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i]->size() != count) return internal_error("an input's size is not rows times columns");
      if (inputs_[i].type == ElementType::int32) {
        auto& narrow = narrowed.emplace_back(inputs[i]->begin(), inputs[i]->end());
        values.push_back(
            Ort::Value::CreateTensor<std::int32_t>(impl_->memory, narrow.data(), count, dimensions.data(), 2));
      } else {
        // ONNX Runtime takes a pointer to mutable data for inputs and does not write to it.
        auto* data = const_cast<std::int64_t*>(inputs[i]->data());
        values.push_back(Ort::Value::CreateTensor<std::int64_t>(impl_->memory, data, count, dimensions.data(), 2));
      }
    }
    std::vector<const char*> names;
    names.reserve(wanted.size());
    for (const std::size_t index : wanted) names.push_back(outputs_[index].name.c_str());
    const std::vector<Ort::Value> results = impl_->session.Run(
        Ort::RunOptions{nullptr}, impl_->input_names.data(), values.data(), values.size(), names.data(), names.size());
    std::vector<std::vector<float>> out;
    out.reserve(results.size());
    for (const Ort::Value& result : results) {
      const float* data = result.GetTensorData<float>();
      out.emplace_back(data, data + result.GetTensorTypeAndShapeInfo().GetElementCount());
    }
    return out;
  } catch (const std::exception& exception) {
    return internal_error(fmt::format("the model failed: {}", first_line(exception.what(), "")));
  }
}

Result<std::vector<float>> Session::run(const FloatInput& input, std::size_t wanted) const {
  if (inputs_.size() != 1) return internal_error("the number of inputs is not the model's");
  try {
    // ONNX Runtime takes a pointer to mutable data for inputs and does not write to it.
    auto* data = const_cast<float*>(input.values.data());
    const Ort::Value value = Ort::Value::CreateTensor<float>(impl_->memory, data, input.values.size(),
                                                             input.shape.data(), input.shape.size());
    const char* name = outputs_[wanted].name.c_str();
    const std::vector<Ort::Value> results =
        impl_->session.Run(Ort::RunOptions{nullptr}, impl_->input_names.data(), &value, 1, &name, 1);
    const float* out = results.front().GetTensorData<float>();
    return std::vector<float>(out, out + results.front().GetTensorTypeAndShapeInfo().GetElementCount());
  } catch (const std::exception& exception) {
    return internal_error(fmt::format("the model failed: {}", first_line(exception.what(), "")));
  }
}

std::string onnx_runtime_version() { return OrtGetApiBase()->GetVersionString(); }

}  // namespace thaw::onnx
