#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

namespace thaw::image {
namespace {

constexpr int kWeightBits = 22;  // 32, less 8 for a sample, less 2 for weights that overshoot
constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);

double sinc(double x) {
  if (x == 0) return 1;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

// A filter at distance x from its middle, in samples of the coarser side; 0 from support() on.
double weight_at(Filter filter, double x) {
  const double distance = std::abs(x);
  switch (filter) {
    case Filter::box:
      return x > -0.5 && x <= 0.5 ? 1 : 0;
    case Filter::bilinear:
      return distance < 1 ? 1 - distance : 0;
    case Filter::hamming:
      return distance < 1 ? sinc(x) * (0.54 + 0.46 * std::cos(std::numbers::pi * x)) : 0;
    case Filter::bicubic: {
      // Keys's cubic convolution with a = -1/2.
      constexpr double a = -0.5;
      if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
      if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * a;
      return 0;
    }
    case Filter::lanczos:
      return distance < 3 ? sinc(x) * sinc(x / 3) : 0;
    case Filter::nearest:
      break;
  }
  return 0;
}

double support(Filter filter) {
  switch (filter) {
    case Filter::box:
      return 0.5;
    case Filter::bicubic:
      return 2;
    case Filter::lanczos:
      return 3;
    default:
      return 1;
  }
}

// What one sample of the result is mixed from.
struct Taps {
  std::uint32_t first = 0;            // the first sample
  std::vector<std::int32_t> weights;  // of that one and those behind it, in units of 2^-kWeightBits
};

std::vector<Taps> make_taps(Filter filter, std::uint32_t from, std::uint32_t to) {
  const double scale = static_cast<double>(from) / to;
  const double width = std::max(scale, 1.0);
  const double reach = support(filter) * width;
  std::vector<Taps> taps(to);
  std::vector<double> exact;
  for (std::uint32_t i = 0; i < to; ++i) {
    const double center = (i + 0.5) * scale;
    const auto first = static_cast<std::uint32_t>(std::max(center - reach + 0.5, 0.0));
    const auto end = static_cast<std::uint32_t>(std::min(center + reach + 0.5, static_cast<double>(from)));
    exact.clear();
    double sum = 0;
    for (std::uint32_t at = first; at < end; ++at) {
      exact.push_back(weight_at(filter, (at - center + 0.5) / width));
      sum += exact.back();
    }
    taps[i].first = first;
    for (const double weight : exact) {
      const double scaled = (sum == 0 ? weight : weight / sum) * (1 << kWeightBits);
      taps[i].weights.push_back(static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
    }
  }
  return taps;
}

std::uint8_t to_sample(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255)); }

Picture resized_rows(const Picture& from, std::uint32_t width, Filter filter) {
  const std::vector<Taps> taps = make_taps(filter, from.size.width, width);
  Picture to{{width, from.size.height}, {}};
  to.rgb.resize(to.size.pixels() * kChannels);
  for (std::uint32_t y = 0; y < to.size.height; ++y) {
    const std::uint8_t* row = from.rgb.data() + y * from.row_bytes();
    std::uint8_t* out = to.rgb.data() + y * to.row_bytes();
    for (const Taps& tap : taps) {
      std::int32_t red = kHalf, green = kHalf, blue = kHalf;
      const std::uint8_t* at = row + std::size_t{tap.first} * kChannels;
      for (const std::int32_t weight : tap.weights) {
        red += weight * at[0];
        green += weight * at[1];
        blue += weight * at[2];
        at += kChannels;
      }
      *out++ = to_sample(red);
      *out++ = to_sample(green);
      *out++ = to_sample(blue);
    }
  }
  return to;
}

Picture resized_columns(const Picture& from, std::uint32_t height, Filter filter) {
  const std::vector<Taps> taps = make_taps(filter, from.size.height, height);
  Picture to{{from.size.width, height}, {}};
  to.rgb.resize(to.size.pixels() * kChannels);
  std::vector<std::int32_t> sums(from.row_bytes());
  for (std::uint32_t y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    const std::uint8_t* row = from.rgb.data() + taps[y].first * from.row_bytes();
    for (const std::int32_t weight : taps[y].weights) {
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += weight * row[i];
      row += from.row_bytes();
    }
    std::transform(sums.begin(), sums.end(), to.rgb.begin() + static_cast<std::ptrdiff_t>(y * to.row_bytes()),
                   to_sample);
  }
  return to;
}

// Each result's middle, in samples of the other side. Added up and not multiplied, as Pillow does.
std::vector<std::uint32_t> nearest_samples(std::uint32_t from, std::uint32_t to) {
  const double step = static_cast<double>(from) / to;
  std::vector<std::uint32_t> out(to);
  double at = step * 0.5;
  for (std::uint32_t& sample : out) {
    sample = std::min(static_cast<std::uint32_t>(at), from - 1);
    at += step;
  }
  return out;
}

Picture resized_nearest(const Picture& from, Size size) {
  const auto columns = nearest_samples(from.size.width, size.width);
  const auto rows = nearest_samples(from.size.height, size.height);
  Picture to{size, {}};
  to.rgb.resize(size.pixels() * kChannels);
  std::uint8_t* out = to.rgb.data();
  for (const std::uint32_t y : rows) {
    const std::uint8_t* row = from.rgb.data() + y * from.row_bytes();
    for (const std::uint32_t x : columns) {
      std::memcpy(out, row + std::size_t{x} * kChannels, kChannels);
      out += kChannels;
    }
  }
  return to;
}

}  // namespace

Picture resized(const Picture& picture, Size size, Filter filter) {
  if (size == picture.size) return picture;
  if (filter == Filter::nearest) return resized_nearest(picture, size);
  if (size.width == picture.size.width) return resized_columns(picture, size.height, filter);
  Picture rows = resized_rows(picture, size.width, filter);
  return size.height == rows.size.height ? rows : resized_columns(rows, size.height, filter);
}

}  // namespace thaw::image
