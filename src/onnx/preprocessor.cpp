#include "onnx/preprocessor.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <cmath>
#include <cstring>
#include <string>

#include "onnx/json_field.h"

namespace thaw::onnx {
namespace {

constexpr double kRescaleDefault = 1.0 / 255;
constexpr double kCropPctDefault = 224.0 / 256;
constexpr std::uint32_t kWarpedFrom = 384;  // ConvNextImageProcessor neither keeps the shape nor crops from here on

// What an image processor does with keys that are left out, and with a size that is one number.
struct Kind {
  std::string_view name;
  bool crops = false;
  enum class Number { both_sides, shortest_edge } number = Number::both_sides;
  image::Filter filter = image::Filter::bilinear;
  bool by_crop_pct = false;
  bool rescales_again = false;
};

constexpr std::array<Kind, 9> kKinds = {{
    {"ViT"},
    {"DeiT", true, Kind::Number::both_sides, image::Filter::bicubic},
    {"CLIP", true, Kind::Number::shortest_edge, image::Filter::bicubic},
    {"Bit", true, Kind::Number::shortest_edge, image::Filter::bicubic},
    {"MobileNetV1", true, Kind::Number::shortest_edge},
    {"MobileNetV2", true, Kind::Number::shortest_edge},
    {"Siglip", false, Kind::Number::both_sides, image::Filter::bicubic},
    {"ConvNext", false, Kind::Number::shortest_edge, image::Filter::bilinear, true},
    {"EfficientNet", false, Kind::Number::both_sides, image::Filter::nearest, false, true},
}};

Result<std::uint32_t> side(const JsonField& field) {
  const auto number = field.unsigned_number(kInputSideMax);
  if (!number.ok() || *number == 0) return field.must_be(fmt::format("a whole number from 1 to {}", kInputSideMax));
  return static_cast<std::uint32_t>(*number);
}

// {"height": H, "width": W}.
Result<image::Size> both_sides(const JsonField& field) {
  ASSIGN_OR_RETURN(const JsonField height, field.required("height"));
  ASSIGN_OR_RETURN(const JsonField width, field.required("width"));
  image::Size size;
  ASSIGN_OR_RETURN(size.height, side(height));
  ASSIGN_OR_RETURN(size.width, side(width));
  return size;
}

Result<double> number_or(const JsonField& config, std::string_view name, double fallback) {
  ASSIGN_OR_RETURN(const JsonField field, config.member(name));
  if (field.is_null()) return fallback;
  return field.number();
}

// One number for all channels, or one for each.
Result<std::array<double, image::kChannels>> by_channel(const JsonField& config, std::string_view name) {
  ASSIGN_OR_RETURN(const JsonField field, config.required(name));
  std::array<double, image::kChannels> out{};
  if (!field.array().ok()) {
    ASSIGN_OR_RETURN(const double number, field.number());
    out.fill(number);
    return out;
  }
  ASSIGN_OR_RETURN(const boost::json::array* numbers, field.array());
  if (numbers->size() != out.size()) return field.must_be("a number, or an array of three");
  for (std::size_t i = 0; i < out.size(); ++i) {
    ASSIGN_OR_RETURN(out[i], field.element(i).number());
  }
  return out;
}

Result<Kind> read_kind(const JsonField& config) {
  std::string name;
  for (const char* key : {"image_processor_type", "feature_extractor_type"}) {
    if (name.empty()) {
      ASSIGN_OR_RETURN(name, config.string_or(key, ""));
    }
  }
  if (name.empty()) return Kind{};
  std::string_view stem = name;
  for (const std::string_view ending : {"Fast", "ImageProcessor", "FeatureExtractor"}) {
    if (stem.ends_with(ending)) stem.remove_suffix(ending.size());
  }
  for (const Kind& kind : kKinds) {
    if (kind.name == stem) return kind;
  }
  std::string known;
  for (const Kind& kind : kKinds) known += fmt::format("{}{}", known.empty() ? "" : ", ", kind.name);
  return Error{ErrorKind::unsupported,
               fmt::format("preprocessor_config.json: image_processor_type '{}' is not known; known are {}",
                           name.substr(0, 100), known)};
}

// Where a crop of one side lies: in the picture, or, where the picture is smaller, the picture in the crop.
struct Overlap {
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  std::uint32_t count = 0;
};
Overlap overlap(std::uint32_t whole, std::uint32_t crop) {
  if (whole >= crop) return {(whole - crop) / 2, 0, crop};
  return {0, (crop - whole + 1) / 2, whole};
}

// The middle; black where the picture does not reach.
image::Picture cropped(const image::Picture& picture, image::Size crop) {
  image::Picture out{crop, {}};
  out.rgb.resize(crop.pixels() * image::kChannels);
  const Overlap columns = overlap(picture.size.width, crop.width);
  const Overlap rows = overlap(picture.size.height, crop.height);
  for (std::uint32_t y = 0; y < rows.count; ++y) {
    std::memcpy(out.rgb.data() + (rows.to + y) * out.row_bytes() + columns.to * image::kChannels,
                picture.rgb.data() + (rows.from + y) * picture.row_bytes() + columns.from * image::kChannels,
                columns.count * image::kChannels);
  }
  return out;
}

}  // namespace

struct Preprocessor::Reader {
  const JsonField& config;
  const Kind& kind;
  Preprocessor& out;

  Status read_size() const {
    ASSIGN_OR_RETURN(const bool resizes, config.boolean_or("do_resize", true));
    if (!resizes) return {};
    ASSIGN_OR_RETURN(const JsonField size, config.required("size"));
    if (!size.object().ok()) {
      ASSIGN_OR_RETURN(out.shortest_, side(size));
      out.size_ = {out.shortest_, out.shortest_};
      out.fit_ = kind.number == Kind::Number::both_sides ? Fit::exact : Fit::shortest;
    } else {
      ASSIGN_OR_RETURN(const JsonField shortest, size.member("shortest_edge"));
      if (shortest.is_null()) {
        ASSIGN_OR_RETURN(out.size_, both_sides(size));
        out.fit_ = Fit::exact;
      } else {
        ASSIGN_OR_RETURN(out.shortest_, side(shortest));
        ASSIGN_OR_RETURN(const JsonField longest, size.member("longest_edge"));
        if (!longest.is_null()) {
          ASSIGN_OR_RETURN(out.longest_, side(longest));
        }
        out.fit_ = Fit::shortest;
      }
    }
    return read_filter();
  }

  Status read_filter() const {
    ASSIGN_OR_RETURN(const JsonField field, config.member("resample"));
    out.filter_ = kind.filter;
    if (field.is_null()) return {};
    ASSIGN_OR_RETURN(const std::uint64_t number,
                     field.unsigned_number(static_cast<std::uint64_t>(image::Filter::hamming)));
    out.filter_ = static_cast<image::Filter>(number);
    return {};
  }

  Status read_crop() const {
    ASSIGN_OR_RETURN(const JsonField crop_pct, config.member("crop_pct"));
    if (out.fit_ == Fit::shortest && (kind.by_crop_pct || !crop_pct.is_null())) return read_crop_pct();
    ASSIGN_OR_RETURN(const bool crops, config.boolean_or("do_center_crop", kind.crops));
    if (!crops) return {};
    ASSIGN_OR_RETURN(const JsonField crop, config.required("crop_size"));
    if (crop.object().ok()) {
      ASSIGN_OR_RETURN(out.crop_, both_sides(crop));
    } else {
      ASSIGN_OR_RETURN(const std::uint32_t both, side(crop));
      out.crop_ = image::Size{both, both};
    }
    return {};
  }

  Status read_crop_pct() const {
    const std::uint32_t edge = out.shortest_;
    if (edge >= kWarpedFrom) {
      out.fit_ = Fit::exact;
      out.size_ = {edge, edge};
      return {};
    }
    ASSIGN_OR_RETURN(const double crop_pct, number_or(config, "crop_pct", kCropPctDefault));
    const double resized = edge / crop_pct;
    if (!(resized >= 1 && resized <= kInputSideMax)) {
      return invalid_argument(
          fmt::format("{}crop_pct must make of {} a side from 1 to {}", config.path(), edge, kInputSideMax));
    }
    out.shortest_ = static_cast<std::uint32_t>(resized);
    out.crop_ = image::Size{edge, edge};
    return {};
  }

  Status read_values() const {
    ASSIGN_OR_RETURN(const bool rescales, config.boolean_or("do_rescale", true));
    double factor = 1;
    double offset = 0;
    if (rescales) {
      ASSIGN_OR_RETURN(factor, number_or(config, "rescale_factor", kRescaleDefault));
      ASSIGN_OR_RETURN(const bool shifts, config.boolean_or("rescale_offset", false));
      offset = shifts ? -1 : 0;
    }
    out.scale_.fill(factor);
    out.shift_.fill(offset);
    ASSIGN_OR_RETURN(const bool normalises, config.boolean_or("do_normalize", true));
    ASSIGN_OR_RETURN(const bool again, config.boolean_or("include_top", kind.rescales_again));
    if (!normalises && !again) return {};
    ASSIGN_OR_RETURN(const auto deviations, by_channel(config, "image_std"));
    std::array<double, image::kChannels> means{};
    if (normalises) {
      ASSIGN_OR_RETURN(means, by_channel(config, "image_mean"));
    }
    for (std::size_t c = 0; c < image::kChannels; ++c) {
      if (deviations[c] == 0) return invalid_argument(config.path() + "image_std must not be 0");
      double divisor = normalises ? deviations[c] : 1;
      if (again) divisor *= deviations[c];
      out.scale_[c] /= divisor;
      out.shift_[c] = (out.shift_[c] - means[c]) / divisor;
    }
    return {};
  }
};

Result<Preprocessor> Preprocessor::from_json(std::string_view text) {
  ASSIGN_OR_RETURN(const boost::json::value json, parse_json(text, "preprocessor_config.json"));
  if (!json.is_object()) return invalid_argument("preprocessor_config.json: must be an object");
  const JsonField config(json, "preprocessor_config.json: ");
  ASSIGN_OR_RETURN(const Kind kind, read_kind(config));
  Preprocessor out;
  const Reader reader{config, kind, out};
  RETURN_IF_ERROR(reader.read_size());
  RETURN_IF_ERROR(reader.read_crop());
  RETURN_IF_ERROR(reader.read_values());
  return out;
}

std::optional<image::Size> Preprocessor::fixed_size() const {
  if (crop_) return crop_;
  if (fit_ == Fit::exact) return size_;
  return std::nullopt;
}

Result<image::Size> Preprocessor::resized_size(image::Size from) const {
  if (fit_ == Fit::none) return from;
  if (fit_ == Fit::exact) return size_;
  const bool upright = from.width <= from.height;
  const double longer = std::max(from.width, from.height);
  double short_side = shortest_;
  double long_side = std::floor(short_side * longer / std::min(from.width, from.height));
  if (longest_ && long_side > *longest_) {
    short_side = std::floor(*longest_ * short_side / long_side);
    long_side = *longest_;
  }
  if (short_side < 1 || short_side * long_side > static_cast<double>(kResizedPixelsMax)) {
    return invalid_argument(fmt::format(
        "the picture is {} x {} pixels: it is too narrow to be made {} pixels wide or high, with at most {} pixels",
        from.width, from.height, shortest_, kResizedPixelsMax));
  }
  const auto narrow = static_cast<std::uint32_t>(short_side);
  const auto wide = static_cast<std::uint32_t>(long_side);
  return upright ? image::Size{narrow, wide} : image::Size{wide, narrow};
}

Result<Preprocessor::Input> Preprocessor::make_input(const image::Picture& picture) const {
  ASSIGN_OR_RETURN(const image::Size size, resized_size(picture.size));
  image::Picture ready = size == picture.size ? picture : image::resized(picture, size, filter_);
  if (crop_) ready = cropped(ready, *crop_);
  Input input{ready.size, {}};
  const std::size_t pixels = ready.size.pixels();
  input.values.resize(pixels * image::kChannels);
  for (std::size_t c = 0; c < image::kChannels; ++c) {
    float* plane = input.values.data() + c * pixels;
    for (std::size_t i = 0; i < pixels; ++i) {
      plane[i] = static_cast<float>(ready.rgb[i * image::kChannels + c] * scale_[c] + shift_[c]);
    }
  }
  return input;
}

}  // namespace thaw::onnx
