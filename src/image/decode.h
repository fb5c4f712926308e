// Bytes of a JPEG, PNG or WebP file to a picture in RGB, upright, with the pixels that Pillow's
// ImageOps.exif_transpose(Image.open(...)).convert("RGB") gives: grey is repeated, alpha is dropped, CMYK is mixed
// without a profile, 16 bits of colour lose their low byte, and a 16-bit grey picture is cut off at 255. Of an
// animation the first frame is taken. Colour profiles and gamma are not applied.
//
// The bytes may come from anyone: sizes are checked against the limits before anything is allocated for them, and
// compressed text and profiles are not unpacked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "image/picture.h"

namespace thaw::image {

enum class Format { jpeg, png, webp };
std::string_view to_string(Format format);
// By the first bytes; nothing for any other file.
std::optional<Format> format_of(std::string_view bytes);

struct DecodeLimits {
  std::size_t bytes_max = 20'000'000;
  std::uint64_t pixels_max = 50'000'000;
  std::uint32_t side_max = 65'535;  // JPEG's own
  // Of a JPEG. Each scan goes over all pixels once more; encoders write about ten.
  unsigned scans_max = 100;
  // What the JPEG decoder may hold beside the picture: coefficients of a progressive picture take 2 bytes a sample.
  std::size_t coefficient_bytes_max = 256u << 20;
};

// Errors: invalid_argument for bytes that are no such file, are cut short or damaged; too_large past a limit, with the
// limit. The message begins with "the picture".
Result<Picture> decode(std::string_view bytes, const DecodeLimits& limits = {});

}  // namespace thaw::image
