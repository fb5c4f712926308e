// Decoding and resizing against Pillow, which tests/data/pillow_cases.py asks.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "image/decode.h"
#include "image/resize.h"

namespace thaw::image {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Picture read_rgb(const fs::path& path) {
  const std::string bytes = read(path);
  const std::size_t line = bytes.find('\n');
  std::istringstream head(bytes.substr(0, line));
  Picture picture;
  head >> picture.size.width >> picture.size.height;
  picture.rgb.assign(bytes.begin() + static_cast<std::ptrdiff_t>(line) + 1, bytes.end());
  EXPECT_EQ(picture.rgb.size(), picture.size.pixels() * kChannels) << path;
  return picture;
}

int largest_difference(const Picture& a, const Picture& b) {
  EXPECT_EQ(a.size, b.size);
  if (a.size != b.size) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) largest = std::max(largest, std::abs(a.rgb[i] - b.rgb[i]));
  return largest;
}

class PillowTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (std::system("/usr/bin/python3 -c 'from PIL import features; exit(not features.check(\"webp\"))'") != 0) return;
    std::string folder = (fs::temp_directory_path() / "thaw-pillow-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    const std::string command =
        fmt::format("/usr/bin/python3 {}/tests/data/pillow_cases.py {}", THAW_SOURCE_DIR, folder);
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  static void TearDownTestSuite() {
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  void SetUp() override {
    if (folder_.empty()) GTEST_SKIP() << "/usr/bin/python3 has no Pillow (python3-pil)";
  }

  static std::vector<fs::path> paths(std::string_view suffix) {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.path().string().ends_with(suffix)) out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  static inline fs::path folder_;
};

TEST_F(PillowTest, DecodesToTheSamePixels) {
  const auto files = paths(".file");
  EXPECT_GE(files.size(), 30u);
  for (const fs::path& path : files) {
    SCOPED_TRACE(path.filename());
    const auto decoded = decode(read(path));
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    fs::path expected = path;
    EXPECT_EQ(largest_difference(*decoded, read_rgb(expected.replace_extension(".rgb"))), 0);
  }
}

// Needs a picture of many rows of blocks: some are always held.
TEST_F(PillowTest, CoefficientsOfAProgressiveJpegAreBounded) {
  const std::string progressive = read(folder_ / "jpeg-progressive-large.file");
  ASSERT_TRUE(decode(progressive).ok());
  const auto decoded = decode(progressive, {.coefficient_bytes_max = 1});
  ASSERT_FALSE(decoded.ok());
  EXPECT_EQ(decoded.error().kind, ErrorKind::too_large);
  EXPECT_NE(decoded.error().message.find("progressive"), std::string::npos);
}

TEST_F(PillowTest, WhatAPngHoldsBesideItsPixelsIsNotUnpacked) {
  for (const char* name : {"text", "international-text", "profile", "pixels"}) {
    SCOPED_TRACE(name);
    rusage before{};
    rusage after{};
    ::getrusage(RUSAGE_SELF, &before);
    const auto decoded = decode(read(folder_ / fmt::format("{}.bomb", name)));
    ::getrusage(RUSAGE_SELF, &after);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(decoded->size, (Size{1, 1}));
    EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 32 * 1024);  // KiB
  }
}

TEST_F(PillowTest, ManyScansAndLongRowsAreRefused) {
  for (const auto& [name, limit] : {std::pair("scans", "100 scans"), std::pair("row", "65535")}) {
    const auto decoded = decode(read(folder_ / fmt::format("{}.bomb", name)));
    ASSERT_FALSE(decoded.ok()) << name;
    EXPECT_EQ(decoded.error().kind, ErrorKind::too_large);
    EXPECT_NE(decoded.error().message.find(limit), std::string::npos) << decoded.error().message;
  }
  EXPECT_TRUE(decode(read(folder_ / "scans.bomb"), {.scans_max = 1000}).ok());
}

TEST_F(PillowTest, ResizesToTheSamePixels) {
  std::size_t count = 0;
  int largest = 0;
  for (const fs::path& path : paths(".rgb")) {
    int number = 0;
    int filter = 0;
    Size size;
    const std::string name = path.filename().string();
    if (std::sscanf(name.c_str(), "resize-%d.%d.%ux%u.rgb", &number, &filter, &size.width, &size.height) != 4) continue;
    SCOPED_TRACE(name);
    const Picture from = read_rgb(folder_ / fmt::format("resize-{}.rgb", number));
    const int difference = largest_difference(resized(from, size, static_cast<Filter>(filter)), read_rgb(path));
    EXPECT_LE(difference, 1);
    largest = std::max(largest, difference);
    ++count;
  }
  EXPECT_GE(count, 80u);
  RecordProperty("largest_difference", largest);
}

}  // namespace
}  // namespace thaw::image
