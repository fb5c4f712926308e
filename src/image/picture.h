// A decoded picture: what decoders make, and what resizing and models take.
#pragma once

#include <cstdint>
#include <vector>

namespace thaw::image {

struct Size {
  std::uint32_t width = 0;
  std::uint32_t height = 0;

  std::uint64_t pixels() const { return std::uint64_t{width} * height; }
  bool operator==(const Size&) const = default;
};

inline constexpr std::size_t kChannels = 3;

struct Picture {
  Size size;
  // uint8 [height, width, 3]: red, green, blue; rows from the top, without padding.
  std::vector<std::uint8_t> rgb;

  std::size_t row_bytes() const { return std::size_t{size.width} * kChannels; }
};

}  // namespace thaw::image
