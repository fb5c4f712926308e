// What holds for every decoder and file; the fuzz targets share it.
#pragma once

#include <cstdlib>
#include <string_view>

#include "image/formats.h"
#include "image/orientation.h"

namespace thaw::image {

// Aborts unless the file is refused or gives as many bytes as its size says, upright as well.
inline void check_decode(Result<Decoded> (*decode)(std::string_view, const DecodeLimits&), std::string_view bytes) {
  const DecodeLimits limits{.pixels_max = 1'000'000, .coefficient_bytes_max = 16u << 20};
  auto decoded = decode(bytes, limits);
  if (!decoded.ok()) return;
  const Size size = decoded->picture.size;
  if (size.pixels() == 0 || size.pixels() > limits.pixels_max) std::abort();
  const int orientation = exif_orientation(decoded->exif);
  const Picture upright = turned_upright(std::move(decoded->picture), orientation);
  if (upright.rgb.size() != size.pixels() * kChannels || upright.size.pixels() != size.pixels()) std::abort();
}

}  // namespace thaw::image
