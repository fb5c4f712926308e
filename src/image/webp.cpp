#include <webp/decode.h>
#include <webp/demux.h>

#include <cstring>
#include <memory>

#include "image/formats.h"

namespace thaw::image {
namespace {

struct DemuxerCloser {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};
using Demuxer = std::unique_ptr<WebPDemuxer, DemuxerCloser>;

Error error_of(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return cut_short(Format::webp);
    case VP8_STATUS_OUT_OF_MEMORY:
      return {ErrorKind::too_large, "the picture: there is no memory to decode it"};
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return damaged(Format::webp, "an unknown feature");
    default:
      return damaged(Format::webp, "its data does not decode");
  }
}

std::string exif_of(const WebPDemuxer& demuxer) {
  std::string out;
  WebPChunkIterator chunk{};
  if (WebPDemuxGetChunk(&demuxer, "EXIF", 1, &chunk) != 0) {
    out.assign(reinterpret_cast<const char*>(chunk.chunk.bytes), chunk.chunk.size);
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return out;
}

// Decodes a frame into its place in the picture; the place is within it.
Status decode_frame(const WebPIterator& frame, Picture& picture) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) return internal_error("libwebp is of another version than its header");
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  const std::size_t offset = static_cast<std::size_t>(frame.y_offset) * picture.row_bytes() +
                             static_cast<std::size_t>(frame.x_offset) * kChannels;
  config.output.u.RGBA.rgba = picture.rgb.data() + offset;
  config.output.u.RGBA.stride = static_cast<int>(picture.row_bytes());
  config.output.u.RGBA.size = picture.rgb.size() - offset;
  const VP8StatusCode status = WebPDecode(frame.fragment.bytes, frame.fragment.size, &config);
  WebPFreeDecBuffer(&config.output);
  return status == VP8_STATUS_OK ? Status() : Status(error_of(status));
}

}  // namespace

Result<Decoded> decode_webp(std::string_view bytes, const DecodeLimits& limits) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  WebPBitstreamFeatures features;
  if (const auto status = WebPGetFeatures(data, bytes.size(), &features); status != VP8_STATUS_OK)
    return error_of(status);
  RETURN_IF_ERROR(
      check_size(static_cast<std::uint64_t>(features.width), static_cast<std::uint64_t>(features.height), limits));

  const WebPData whole{data, bytes.size()};
  WebPDemuxState state{};
  const Demuxer demuxer(WebPDemuxPartial(&whole, &state));
  if (state == WEBP_DEMUX_PARSING_HEADER || state == WEBP_DEMUX_PARSED_HEADER) return cut_short(Format::webp);
  if (demuxer == nullptr || state != WEBP_DEMUX_DONE) return damaged(Format::webp, "its chunks do not add up");
  const Size size{WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH),
                  WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT)};
  RETURN_IF_ERROR(check_size(size.width, size.height, limits));

  WebPIterator frame{};
  const std::unique_ptr<WebPIterator, decltype(&WebPDemuxReleaseIterator)> release(&frame, &WebPDemuxReleaseIterator);
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) return damaged(Format::webp, "it has no picture");
  const bool within = frame.width > 0 && frame.height > 0 && frame.x_offset >= 0 && frame.y_offset >= 0 &&
                      std::int64_t{frame.x_offset} + frame.width <= size.width &&
                      std::int64_t{frame.y_offset} + frame.height <= size.height;
  if (!within) return damaged(Format::webp, "its first frame is not within its canvas");
  Decoded out;
  ASSIGN_OR_RETURN(out.picture, make_picture(size));
  out.exif = exif_of(*demuxer);
  RETURN_IF_ERROR(decode_frame(frame, out.picture));
  return out;
}

}  // namespace thaw::image
