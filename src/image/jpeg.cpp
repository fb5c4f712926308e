// libjpeg (libjpeg-turbo) behind formats.h. It reports errors by a call that must not return, so each step that calls
// it runs behind a setjmp of its own, and nothing with a destructor is made there.
#include <fmt/format.h>

#include <csetjmp>
#include <cstddef>
#include <cstdio>
// Needs the two above.
#include <jerror.h>
#include <jpeglib.h>

#include <array>
#include <vector>

#include "image/formats.h"

namespace thaw::image {
namespace {

constexpr unsigned kExifBytesMax = 65533;  // the most that fits into a marker

class JpegDecoder {
 public:
  JpegDecoder(std::string_view bytes, const DecodeLimits& limits) : limits_(limits) {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = on_error;
    errors_.emit_message = on_message;
    errors_.output_message = [](j_common_ptr) {};
    info_.client_data = this;
    source_.init_source = [](j_decompress_ptr) {};
    source_.fill_input_buffer = on_input_end;
    source_.skip_input_data = on_skip;
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.term_source = [](j_decompress_ptr) {};
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
    source_.bytes_in_buffer = bytes.size();
    progress_.progress_monitor = on_progress;
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&info_); }
  JpegDecoder(const JpegDecoder&) = delete;

  Result<Decoded> decode() {
    if (!read_header()) return error();
    RETURN_IF_ERROR(check_size(info_.image_width, info_.image_height, limits_));
    if (info_.num_components != 1 && info_.num_components != 3 && info_.num_components != 4) {
      return damaged(Format::jpeg, fmt::format("{} colour components", info_.num_components));
    }
    Decoded out;
    ASSIGN_OR_RETURN(out.picture, make_picture({info_.image_width, info_.image_height}));
    out.exif = exif();
    picture_ = &out.picture;
    row_.resize(std::size_t{info_.image_width} * 4);
    if (!read_pixels()) return error();
    return out;
  }

 private:
  static JpegDecoder& self(j_common_ptr info) { return *static_cast<JpegDecoder*>(info->client_data); }

  static void on_error(j_common_ptr info) { std::longjmp(self(info).escape_, 1); }
  static void on_message(j_common_ptr, int) {}  // what it can go on with, as Pillow does

  static boolean on_input_end(j_decompress_ptr info) {
    JpegDecoder& decoder = *static_cast<JpegDecoder*>(info->client_data);
    decoder.ended_ = true;
    std::longjmp(decoder.escape_, 1);
  }

  static void on_skip(j_decompress_ptr info, long count) {
    if (count <= 0) return;
    if (static_cast<std::size_t>(count) > info->src->bytes_in_buffer) on_input_end(info);
    info->src->next_input_byte += count;
    info->src->bytes_in_buffer -= static_cast<std::size_t>(count);
  }

  static void on_progress(j_common_ptr common) {
    JpegDecoder& decoder = self(common);
    if (static_cast<unsigned>(decoder.info_.input_scan_number) <= decoder.limits_.scans_max) return;
    decoder.too_many_scans_ = true;
    std::longjmp(decoder.escape_, 1);
  }

  bool read_header() {
    if (setjmp(escape_) != 0) return false;
    jpeg_create_decompress(&info_);
    info_.client_data = this;
    info_.mem->max_memory_to_use = static_cast<long>(limits_.coefficient_bytes_max);
    info_.src = &source_;
    info_.progress = &progress_;
    jpeg_save_markers(&info_, JPEG_APP0 + 1, kExifBytesMax);
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  bool read_pixels() {
    if (setjmp(escape_) != 0) return false;
    info_.out_color_space = info_.num_components == 1 ? JCS_GRAYSCALE : info_.num_components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      std::uint8_t* row = picture_->rgb.data() + info_.output_scanline * picture_->row_bytes();
      JSAMPROW into = info_.num_components == 3 ? row : row_.data();
      jpeg_read_scanlines(&info_, &into, 1);
      if (info_.num_components == 1) spread_grey(row);
      if (info_.num_components == 4) mix_cmyk(row);
    }
    return true;
  }

  void spread_grey(std::uint8_t* row) const {
    for (std::size_t x = 0; x < picture_->size.width; ++x) {
      for (std::size_t c = 0; c < kChannels; ++c) row[x * kChannels + c] = row_[x];
    }
  }

  // The samples are what is left white, by Adobe's convention, which Pillow supposes too. The product is divided by
  // 255 and rounded, as Pillow does it in whole numbers.
  void mix_cmyk(std::uint8_t* row) const {
    for (std::size_t x = 0; x < picture_->size.width; ++x) {
      const unsigned white = row_[x * 4 + 3];
      for (std::size_t c = 0; c < kChannels; ++c) {
        const unsigned product = (255U - row_[x * 4 + c]) * white + 128;
        row[x * kChannels + c] = static_cast<std::uint8_t>(white - ((product + (product >> 8)) >> 8));
      }
    }
  }

  std::string exif() const {
    constexpr std::string_view kMark("Exif\0\0", 6);
    for (const jpeg_marker_struct* marker = info_.marker_list; marker != nullptr; marker = marker->next) {
      const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (marker->marker == JPEG_APP0 + 1 && data.starts_with(kMark)) return std::string(data);
    }
    return {};
  }

  Error error() {
    if (ended_) return cut_short(Format::jpeg);
    if (too_many_scans_) {
      return {ErrorKind::too_large, fmt::format("the picture is a JPEG of more than {} scans", limits_.scans_max)};
    }
    if (errors_.msg_code == JERR_NO_BACKING_STORE || errors_.msg_code == JERR_OUT_OF_MEMORY) {
      return {
          ErrorKind::too_large,
          fmt::format("the picture is a progressive JPEG that needs more than {} bytes to decode; send it smaller, or "
                      "not progressive",
                      limits_.coefficient_bytes_max)};
    }
    std::array<char, JMSG_LENGTH_MAX> text{};
    errors_.format_message(reinterpret_cast<j_common_ptr>(&info_), text.data());
    return damaged(Format::jpeg, text.data());
  }

  const DecodeLimits& limits_;
  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_source_mgr source_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf escape_;
  bool ended_ = false;
  bool too_many_scans_ = false;
  Picture* picture_ = nullptr;
  std::vector<std::uint8_t> row_;  // of a grey or CMYK picture
};

}  // namespace

Result<Decoded> decode_jpeg(std::string_view bytes, const DecodeLimits& limits) {
  JpegDecoder decoder(bytes, limits);
  return decoder.decode();
}

}  // namespace thaw::image
