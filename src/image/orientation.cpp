#include "image/orientation.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace thaw::image {
namespace {

constexpr unsigned kTagOrientation = 274;
constexpr std::size_t kEntryBytes = 12;
enum TiffType : unsigned { kByte = 1, kShort = 3, kLong = 4 };

// Numbers of a TIFF structure, in its own byte order; nothing outside it.
class Tiff {
 public:
  explicit Tiff(std::string_view bytes) : bytes_(bytes), little_(bytes.starts_with("II")) {}

  std::optional<std::uint32_t> number(std::size_t at, std::size_t size) const {
    if (at > bytes_.size() || size > bytes_.size() - at) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t from = little_ ? at + size - 1 - i : at + i;
      value = value << 8 | static_cast<unsigned char>(bytes_[from]);
    }
    return value;
  }

 private:
  std::string_view bytes_;
  bool little_;
};

int entry_orientation(const Tiff& tiff, std::size_t entry) {
  const unsigned type = tiff.number(entry + 2, 2).value_or(0);
  const std::size_t size = type == kByte ? 1 : type == kShort ? 2 : type == kLong ? 4 : 0;
  const std::uint32_t value = size == 0 ? 0 : tiff.number(entry + 8, size).value_or(0);
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

// Orientations whose sides change places. at(x, y): where the pixel of the new picture is in the old one.
template <class At>
Picture rearranged(const Picture& from, At at) {
  Picture to{{from.size.height, from.size.width}, {}};
  to.rgb.resize(from.rgb.size());
  for (std::uint32_t y = 0; y < to.size.height; ++y) {
    std::uint8_t* row = to.rgb.data() + y * to.row_bytes();
    for (std::uint32_t x = 0; x < to.size.width; ++x) {
      const auto [from_x, from_y] = at(x, y);
      std::memcpy(row + x * kChannels, from.rgb.data() + from_y * from.row_bytes() + from_x * kChannels, kChannels);
    }
  }
  return to;
}

void mirror_rows(Picture& picture) {
  for (std::uint32_t y = 0; y < picture.size.height; ++y) {
    std::uint8_t* row = picture.rgb.data() + y * picture.row_bytes();
    for (std::uint32_t left = 0, right = picture.size.width - 1; left < right; ++left, --right) {
      std::swap_ranges(row + left * kChannels, row + (left + 1) * kChannels, row + right * kChannels);
    }
  }
}

void mirror_columns(Picture& picture) {
  const std::size_t bytes = picture.row_bytes();
  for (std::uint32_t top = 0, bottom = picture.size.height - 1; top < bottom; ++top, --bottom) {
    std::uint8_t* row = picture.rgb.data() + top * bytes;
    std::swap_ranges(row, row + bytes, picture.rgb.data() + bottom * bytes);
  }
}

}  // namespace

int exif_orientation(std::string_view exif) {
  constexpr std::string_view kMark("Exif\0\0", 6);
  if (exif.starts_with(kMark)) exif.remove_prefix(kMark.size());
  if (!exif.starts_with("II") && !exif.starts_with("MM")) return 1;
  const Tiff tiff(exif);
  const auto directory = tiff.number(4, 4);
  if (!directory) return 1;
  const std::uint32_t count = tiff.number(*directory, 2).value_or(0);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t entry = std::size_t{*directory} + 2 + i * kEntryBytes;
    const auto tag = tiff.number(entry, 2);
    if (!tag) return 1;
    if (*tag == kTagOrientation) return entry_orientation(tiff, entry);
  }
  return 1;
}

Picture turned_upright(Picture picture, int orientation) {
  const std::uint32_t right = picture.size.width - 1;
  const std::uint32_t bottom = picture.size.height - 1;
  switch (orientation) {
    case 2:
      mirror_rows(picture);
      return picture;
    case 3:
      mirror_rows(picture);
      mirror_columns(picture);
      return picture;
    case 4:
      mirror_columns(picture);
      return picture;
    case 5:
      return rearranged(picture, [](auto x, auto y) { return std::pair(y, x); });
    case 6:
      return rearranged(picture, [&](auto x, auto y) { return std::pair(y, bottom - x); });
    case 7:
      return rearranged(picture, [&](auto x, auto y) { return std::pair(right - y, bottom - x); });
    case 8:
      return rearranged(picture, [&](auto x, auto y) { return std::pair(right - y, x); });
    default:
      return picture;
  }
}

}  // namespace thaw::image
