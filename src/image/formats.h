// The decoders of decode.h, one for each library, and what they share.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "image/decode.h"
#include "image/picture.h"

namespace thaw::image {

struct Decoded {
  Picture picture;   // as it is stored
  std::string exif;  // a TIFF header and what follows, with or without "Exif\0\0" before it; empty when there is none
};

Result<Decoded> decode_jpeg(std::string_view bytes, const DecodeLimits& limits);
Result<Decoded> decode_png(std::string_view bytes, const DecodeLimits& limits);
Result<Decoded> decode_webp(std::string_view bytes, const DecodeLimits& limits);

// Errors: invalid_argument for a side of 0; too_large past a limit.
Status check_size(std::uint64_t width, std::uint64_t height, const DecodeLimits& limits);
// Errors: too_large when there is no memory for it.
Result<Picture> make_picture(Size size);

// "the picture is no sound JPEG (WHY)".
Error damaged(Format format, std::string_view why);
Error cut_short(Format format);

}  // namespace thaw::image
