#include "image/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "image/formats.h"
#include "image/orientation.h"

namespace thaw::image {

std::string_view to_string(Format format) {
  switch (format) {
    case Format::jpeg:
      return "JPEG";
    case Format::png:
      return "PNG";
    case Format::webp:
      break;
  }
  return "WebP";
}

std::optional<Format> format_of(std::string_view bytes) {
  if (bytes.starts_with("\xff\xd8\xff")) return Format::jpeg;
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return Format::png;
  if (bytes.starts_with("RIFF") && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") return Format::webp;
  return std::nullopt;
}

Status check_size(std::uint64_t width, std::uint64_t height, const DecodeLimits& limits) {
  if (width == 0 || height == 0) {
    return invalid_argument(fmt::format("the picture is {} x {} pixels: a side of 0 shows nothing", width, height));
  }
  if (std::max(width, height) > limits.side_max) {
    return Error{ErrorKind::too_large, fmt::format("the picture is {} x {} pixels; a side may have {} at most", width,
                                                   height, limits.side_max)};
  }
  if (height > limits.pixels_max / width) {
    return Error{ErrorKind::too_large, fmt::format("the picture is {} x {} pixels; at most {} pixels are possible",
                                                   width, height, limits.pixels_max)};
  }
  return {};
}

Result<Picture> make_picture(Size size) {
  Picture picture{size, {}};
  try {
    picture.rgb.resize(size.pixels() * kChannels);
  } catch (const std::bad_alloc&) {
    return Error{ErrorKind::too_large,
                 fmt::format("the picture is {} x {} pixels: there is no memory for it", size.width, size.height)};
  }
  return picture;
}

Error damaged(Format format, std::string_view why) {
  return invalid_argument(fmt::format("the picture is no sound {} ({})", to_string(format), why));
}

Error cut_short(Format format) {
  return invalid_argument(fmt::format("the picture is cut short: the {} ends before its end", to_string(format)));
}

Result<Picture> decode(std::string_view bytes, const DecodeLimits& limits) {
  if (bytes.empty()) return invalid_argument("the picture is empty: 0 bytes");
  if (bytes.size() > limits.bytes_max) {
    return Error{ErrorKind::too_large,
                 fmt::format("the picture is {} bytes; at most {} are possible", bytes.size(), limits.bytes_max)};
  }
  const auto format = format_of(bytes);
  if (!format) return invalid_argument("the picture is neither JPEG nor PNG nor WebP, by its first bytes");
  const auto decoder = *format == Format::jpeg ? decode_jpeg : *format == Format::png ? decode_png : decode_webp;
  ASSIGN_OR_RETURN(Decoded decoded, decoder(bytes, limits));
  return turned_upright(std::move(decoded.picture), exif_orientation(decoded.exif));
}

}  // namespace thaw::image
