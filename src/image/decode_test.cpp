#include "image/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "image/orientation.h"

namespace thaw::image {
namespace {

using testing::HasSubstr;

// Small sound files; the fuzz targets start from them too.
std::string sample(const std::string& name) {
  std::ifstream in(std::string(THAW_SOURCE_DIR) + "/tests/fuzz/corpus/" + name, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  EXPECT_FALSE(bytes.empty()) << name;
  return bytes;
}
const char* const kSamples[] = {"jpeg/baseline.jpg", "jpeg/progressive.jpg", "png/rgb.png",
                                "png/palette.png",   "webp/lossy.webp",      "webp/lossless.webp"};

Error error_of(std::string_view bytes, const DecodeLimits& limits = {}) {
  const auto decoded = decode(bytes, limits);
  EXPECT_FALSE(decoded.ok());
  return decoded.ok() ? Error() : decoded.error();
}

TEST(DecodeTest, KnowsFormatsByTheirFirstBytes) {
  EXPECT_EQ(format_of(sample("jpeg/baseline.jpg")), Format::jpeg);
  EXPECT_EQ(format_of(sample("png/rgb.png")), Format::png);
  EXPECT_EQ(format_of(sample("webp/lossy.webp")), Format::webp);
  EXPECT_EQ(format_of("GIF89a"), std::nullopt);
  EXPECT_EQ(format_of(std::string("RIFF\0\0\0\0WAVE", 12)), std::nullopt);
}

TEST(DecodeTest, WhatIsNoPictureIsRefused) {
  EXPECT_THAT(error_of("").message, HasSubstr("empty"));
  EXPECT_THAT(error_of("<html></html>").message, HasSubstr("neither JPEG nor PNG nor WebP"));
  EXPECT_THAT(error_of("\xff\xd8\xff").message, HasSubstr("cut short"));
  EXPECT_EQ(error_of("GIF89a").kind, ErrorKind::invalid_argument);
}

TEST(DecodeTest, EveryCutIsRefused) {
  for (const char* name : kSamples) {
    const std::string whole = sample(name);
    ASSERT_TRUE(decode(whole).ok()) << name << ": " << decode(whole).error().message;
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const auto decoded = decode(std::string_view(whole).substr(0, size));
      ASSERT_FALSE(decoded.ok()) << name << " cut to " << size << " of " << whole.size();
      ASSERT_EQ(decoded.error().kind, ErrorKind::invalid_argument) << name;
    }
  }
}

TEST(DecodeTest, LimitsAreNamed) {
  for (const char* name : kSamples) {
    const std::string whole = sample(name);
    const Size size = decode(whole)->size;
    EXPECT_TRUE(decode(whole, {.pixels_max = size.pixels()}).ok());
    const Error pixels = error_of(whole, {.pixels_max = size.pixels() - 1});
    EXPECT_EQ(pixels.kind, ErrorKind::too_large) << name;
    EXPECT_THAT(pixels.message, HasSubstr(std::to_string(size.pixels() - 1)));
    EXPECT_EQ(error_of(whole, {.bytes_max = whole.size() - 1}).kind, ErrorKind::too_large);
  }
}

TEST(DecodeTest, ScansOfAJpegAreBounded) {
  const std::string progressive = sample("jpeg/progressive.jpg");
  const Error scans = error_of(progressive, {.scans_max = 3});
  EXPECT_EQ(scans.kind, ErrorKind::too_large);
  EXPECT_THAT(scans.message, HasSubstr("more than 3 scans"));
}

// A header that promises far more than the file has must not be believed: it is refused before there is memory for it.
TEST(DecodeTest, HugeSizesAreRefusedByTheHeader) {
  std::string png = sample("png/rgb.png");
  png.replace(16, 8, std::string("\x7f\xff\xff\xff\x7f\xff\xff\xff", 8));
  EXPECT_EQ(error_of(png).kind, ErrorKind::invalid_argument);  // the header's checksum is wrong
  std::string jpeg = sample("jpeg/baseline.jpg");
  const std::size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, std::string("\xff\xdc\xff\xdc", 4));
  EXPECT_EQ(error_of(jpeg).kind, ErrorKind::too_large);
  jpeg.replace(frame + 5, 4, std::string("\0\0\0\0", 4));
  EXPECT_EQ(error_of(jpeg).kind, ErrorKind::invalid_argument);
}

TEST(DecodeTest, AChunkLongerThanItsFileIsRefused) {
  std::string png = sample("png/rgb.png");
  const std::size_t exif = png.find("eXIf");
  ASSERT_NE(exif, std::string::npos);
  png.replace(exif - 4, 4, "\x62\x01\x01\x01");
  EXPECT_THAT(error_of(png).message, HasSubstr("cut short"));
}

TEST(DecodeTest, FlippedBytesDoNoHarm) {
  for (const char* name : kSamples) {
    const std::string whole = sample(name);
    for (std::size_t at = 12; at < whole.size(); ++at) {
      std::string broken = whole;
      broken[at] = static_cast<char>(broken[at] ^ 0x55);
      const auto decoded = decode(broken, {.pixels_max = 1'000'000});
      if (decoded.ok()) {
        ASSERT_EQ(decoded->rgb.size(), decoded->size.pixels() * kChannels);
      }
    }
  }
}

TEST(OrientationTest, IsReadInBothByteOrders) {
  const std::string little("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", 22);
  const std::string big("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 22);
  EXPECT_EQ(exif_orientation(little), 6);
  EXPECT_EQ(exif_orientation(big), 6);
  EXPECT_EQ(exif_orientation(std::string("Exif\0\0", 6) + big), 6);
}

TEST(OrientationTest, BrokenExifIsUpright) {
  const std::string whole("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 22);
  for (std::size_t size = 0; size < 20; ++size) EXPECT_EQ(exif_orientation(std::string_view(whole).substr(0, size)), 1);
  std::string far = whole;
  far.replace(4, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(exif_orientation(far), 1);
  std::string nine = whole;
  nine[19] = 9;
  EXPECT_EQ(exif_orientation(nine), 1);
}

}  // namespace
}  // namespace thaw::image
