// A picture to a model's input, as the image processor that preprocessor_config.json describes makes it: resized,
// cropped, rescaled, normalised, in this order. The numbers are those of Hugging Face's processors on Pillow (the
// "slow" ones).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/picture.h"
#include "image/resize.h"

namespace thaw::onnx {

// Of a resized picture: a very narrow one would else become a very long one.
inline constexpr std::uint64_t kResizedPixelsMax = 16'000'000;
inline constexpr std::uint32_t kInputSideMax = 4096;

class Preprocessor {
 public:
  // text: preprocessor_config.json. Errors: invalid_argument naming the field; unsupported for an image processor whose
  // steps are not these.
  static Result<Preprocessor> from_json(std::string_view text);

  struct Input {
    image::Size size;
    std::vector<float> values;  // [3, height, width]
  };
  // Errors: invalid_argument for a picture too narrow to be resized.
  Result<Input> make_input(const image::Picture& picture) const;

  // The size of every input, where it does not depend on the picture.
  std::optional<image::Size> fixed_size() const;

 private:
  enum class Fit {
    none,      // not resized
    exact,     // to size_, whatever the picture's shape
    shortest,  // the shorter side to shortest_, the longer one at most longest_ where that is given
  };
  struct Reader;

  Result<image::Size> resized_size(image::Size from) const;

  Fit fit_ = Fit::none;
  image::Size size_;
  std::uint32_t shortest_ = 0;
  std::optional<std::uint32_t> longest_;
  image::Filter filter_ = image::Filter::bilinear;
  std::optional<image::Size> crop_;
  // value = sample * scale + shift, by channel.
  std::array<double, image::kChannels> scale_{1, 1, 1};
  std::array<double, image::kChannels> shift_{0, 0, 0};
};

}  // namespace thaw::onnx
