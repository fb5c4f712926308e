// ONNX Runtime behind one wall: nothing else in Thaw names its API. Its exceptions become Errors here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace thaw::onnx {

enum class ElementType { float32, int32, int64, other };
std::string_view to_string(ElementType type);

// One input or output of a model's own signature.
struct TensorSpec {
  std::string name;
  ElementType type = ElementType::other;
  std::vector<std::int64_t> shape;  // -1 where the size is the caller's choice
};

struct SessionOptions {
  unsigned threads = 1;
  // Whether idle threads of the session wait by spinning: quicker, but only where no one else wants the CPU.
  enum class Waiting { block, spin } waiting = Waiting::block;
};

// Ownership: owns the model and its threads. Threads: run() from many threads at a time.
class Session {
 public:
  // Errors: corrupt for a file that is no ONNX model or is cut short; unsupported for operators or versions that this
  // ONNX Runtime lacks; not_found.
  static Result<std::unique_ptr<Session>> load(const std::string& path, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;

  const std::vector<TensorSpec>& inputs() const { return inputs_; }
  const std::vector<TensorSpec>& outputs() const { return outputs_; }

  // inputs: one for each of inputs(), in that order, each [rows, columns] row by row; given to the model as int64 or
  // int32, whichever it declares. wanted: indices into outputs(). Results: float32, as flat as the model makes them.
  // Errors: internal when the model fails on the values, with ONNX Runtime's message.
  struct Shape {
    std::size_t rows = 0;
    std::size_t columns = 0;
  };
  Result<std::vector<std::vector<float>>> run(std::span<const std::vector<std::int64_t>* const> inputs, Shape shape,
                                              std::span<const std::size_t> wanted) const;

  // One input of float32, flat, of the shape that it has for the model; one output, as flat as the model makes it.
  // Errors: as above.
  struct FloatInput {
    std::span<const float> values;
    std::span<const std::int64_t> shape;
  };
  Result<std::vector<float>> run(const FloatInput& input, std::size_t wanted) const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
  std::vector<TensorSpec> inputs_;
  std::vector<TensorSpec> outputs_;
};

// The version of the ONNX Runtime that the program is linked with.
std::string onnx_runtime_version();

}  // namespace thaw::onnx
