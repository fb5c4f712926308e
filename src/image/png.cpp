// libpng behind formats.h. It reports errors by a call that must not return, so each step that calls it runs behind a
// setjmp of its own, and nothing with a destructor is made there.
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <vector>

#include "image/formats.h"

namespace thaw::image {
namespace {

constexpr png_alloc_size_t kChunkBytesMax = 1 << 20;  // of one chunk that is kept: palette, EXIF
constexpr png_uint_32 kChunksKeptMax = 64;
constexpr std::size_t kMessageBytesMax = 128;

// Chunks that could be unpacked into something large and say nothing about pixels.
constexpr std::array<png_byte, 35> kIgnored = {'i', 'C', 'C', 'P', 0,   'z', 'T', 'X', 't', 0,   'i', 'T',
                                               'X', 't', 0,   't', 'E', 'X', 't', 0,   's', 'P', 'L', 'T',
                                               0,   'h', 'I', 'S', 'T', 0,   'p', 'C', 'A', 'L', 0};

// libpng allocates for some chunks what their length says before it looks at whether there is so much. So all lengths
// are checked against the file first. (PNG specification, section 5.3: length, type, data, checksum.)
Status check_chunks(std::string_view bytes) {
  constexpr std::size_t kSignatureBytes = 8;
  constexpr std::size_t kAroundData = 12;
  std::string_view rest = bytes.substr(std::min(kSignatureBytes, bytes.size()));
  for (;;) {
    if (rest.size() < kAroundData) return cut_short(Format::png);
    const std::uint32_t length = png_get_uint_32(reinterpret_cast<png_const_bytep>(rest.data()));
    if (length > rest.size() - kAroundData) return cut_short(Format::png);
    if (rest.substr(4, 4) == "IEND") return {};
    rest.remove_prefix(kAroundData + length);
  }
}

class PngDecoder {
 public:
  PngDecoder(std::string_view bytes, const DecodeLimits& limits) : rest_(bytes), limits_(limits) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
  }
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngDecoder(const PngDecoder&) = delete;

  Result<Decoded> decode() {
    if (info_ == nullptr) return Error{ErrorKind::too_large, "the picture: there is no memory for its decoder"};
    if (!read_header()) return error();
    const png_uint_32 width = png_get_image_width(png_, info_);
    const png_uint_32 height = png_get_image_height(png_, info_);
    RETURN_IF_ERROR(check_size(width, height, limits_));
    if (!ask_for_rgb()) return error();
    Decoded out;
    ASSIGN_OR_RETURN(out.picture, make_picture({width, height}));
    if (png_get_rowbytes(png_, info_) != out.picture.row_bytes()) return damaged(Format::png, "an unknown colour type");
    rows_.resize(height);
    for (std::size_t y = 0; y < height; ++y) rows_[y] = out.picture.rgb.data() + y * out.picture.row_bytes();
    if (!read_pixels()) return error();
    if (exif_ != nullptr) out.exif.assign(reinterpret_cast<const char*>(exif_), exif_bytes_);
    return out;
  }

 private:
  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    auto& decoder = *static_cast<PngDecoder*>(png_get_error_ptr(png));
    std::strncpy(decoder.message_.data(), message, kMessageBytesMax - 1);
    png_longjmp(png, 1);
  }

  static void on_read(png_structp png, png_bytep into, std::size_t count) {
    auto& decoder = *static_cast<PngDecoder*>(png_get_io_ptr(png));
    if (count > decoder.rest_.size()) {
      decoder.ended_ = true;
      png_error(png, "");
    }
    std::memcpy(into, decoder.rest_.data(), count);
    decoder.rest_.remove_prefix(count);
  }

  // A row of 16-bit grey to RGB in its own place, cut off at 255.
  static void on_grey_16_row(png_structp, png_row_infop row, png_bytep data) {
    for (png_uint_32 i = row->width; i-- > 0;) {
      const png_byte value = data[std::size_t{i} * 2] == 0 ? data[std::size_t{i} * 2 + 1] : 255;
      std::memset(data + std::size_t{i} * kChannels, value, kChannels);
    }
  }

  bool read_header() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, on_read);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // check_size() says it better
    png_set_chunk_malloc_max(png_, kChunkBytesMax);
    png_set_chunk_cache_max(png_, kChunksKeptMax);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, kIgnored.data(), static_cast<int>(kIgnored.size() / 5));
    png_read_info(png_, info_);
    return true;
  }

  // Grey, palettes and alpha to three bytes a pixel.
  bool ask_for_rgb() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    const int colours = png_get_color_type(png_, info_);
    const int bits = png_get_bit_depth(png_, info_);
    if (colours == PNG_COLOR_TYPE_GRAY && bits == 16) {
      png_set_read_user_transform_fn(png_, on_grey_16_row);
      png_set_user_transform_info(png_, nullptr, 8, static_cast<int>(kChannels));
    } else {
      if (bits == 16) png_set_strip_16(png_);
      if (colours == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
      if (colours == PNG_COLOR_TYPE_GRAY && bits < 8) png_set_expand_gray_1_2_4_to_8(png_);
      if ((colours & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png_);
      png_set_strip_alpha(png_);
    }
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool read_pixels() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_image(png_, rows_.data());
    png_read_end(png_, info_);
    if (png_get_eXIf_1(png_, info_, &exif_bytes_, &exif_) == 0) exif_ = nullptr;
    return true;
  }

  Error error() const { return ended_ ? cut_short(Format::png) : damaged(Format::png, message_.data()); }

  std::string_view rest_;
  const DecodeLimits& limits_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  bool ended_ = false;
  std::array<char, kMessageBytesMax> message_{};
  std::vector<png_bytep> rows_;
  png_bytep exif_ = nullptr;  // libpng's own
  png_uint_32 exif_bytes_ = 0;
};

}  // namespace

Result<Decoded> decode_png(std::string_view bytes, const DecodeLimits& limits) {
  RETURN_IF_ERROR(check_chunks(bytes));
  PngDecoder decoder(bytes, limits);
  return decoder.decode();
}

}  // namespace thaw::image
