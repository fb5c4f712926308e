#include "snapshot/image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>

#include "snapshot/image_codec.h"
#include "snapshot/image_file.h"
#include "snapshot/image_memory.h"

namespace thaw::snapshot {
namespace {

Image small_image() {
  Image image;
  image.fingerprint = {"6.1", "flags: sse2"};
  image.process.pid = 2;
  image.process.executable = "/usr/bin/true";
  image.process.working_directory = "/";
  Thread leader;
  leader.tid = 2;
  leader.name = "true";
  leader.xstate.resize(832);
  image.threads.push_back(leader);
  Mapping heap;
  heap.start = 0x10000;
  heap.end = 0x14000;
  heap.protection = 3;
  heap.runs = {{.start = 0x10000, .end = 0x12000, .offset = kPageBytes}};
  image.mappings.push_back(heap);
  Descriptor input;
  input.kind = DescriptorKind::device;
  input.numbers = {0};
  input.close_on_exec = {0};
  input.path = "/dev/null";
  image.descriptors.push_back(input);
  return image;
}

std::vector<std::byte> pages(std::size_t count) {
  std::vector<std::byte> bytes(count * kPageBytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 4096);
  return bytes;
}

UniqueFd written(Image image, std::size_t page_count = 2) {
  UniqueFd file(::memfd_create("image", MFD_CLOEXEC));
  ImageWriter writer(file);
  EXPECT_EQ(*writer.append(pages(page_count)), kPageBytes);
  EXPECT_TRUE(writer.finish(image).ok());
  return file;
}

std::uint64_t size_of(const UniqueFd& file) { return static_cast<std::uint64_t>(::lseek(file.get(), 0, SEEK_END)); }

TEST(ImageFile, ReadsWhatWasWritten) {
  const UniqueFd file = written(small_image(), 300);
  const auto image = read_image(file);
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_EQ(encode_image(*image).size(), size_of(file) - kPageBytes - 300 * kPageBytes - 3 * sizeof(Digest));
  EXPECT_EQ(image->fingerprint, small_image().fingerprint);
  EXPECT_EQ(image->pages_bytes, 300 * kPageBytes);
  EXPECT_TRUE(load_image(file).ok());
}

TEST(ImageFile, AFileWithoutItsHeaderIsNoImage) {
  UniqueFd file(::memfd_create("image", MFD_CLOEXEC));
  ImageWriter writer(file);
  ASSERT_TRUE(writer.append(pages(300)).ok());  // and then the power fails
  EXPECT_FALSE(read_image(file).ok());
}

TEST(ImageFile, EveryCutIsRefused) {
  const UniqueFd whole = written(small_image());
  const std::uint64_t size = size_of(whole);
  for (std::uint64_t cut = 0; cut < size; cut += 97) {
    const UniqueFd file = written(small_image());
    ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(cut)), 0);
    EXPECT_FALSE(read_image(file).ok()) << cut;
  }
}

TEST(ImageFile, EveryFlippedByteIsSeen) {
  const UniqueFd file = written(small_image());
  const std::uint64_t size = size_of(file);
  for (std::uint64_t at = 0; at < size; at += at < 200 || at > 3 * kPageBytes ? 1 : 61) {
    char byte = 0;
    ASSERT_EQ(::pread(file.get(), &byte, 1, static_cast<off_t>(at)), 1);
    const char flipped = static_cast<char>(byte ^ 0x10);
    ASSERT_EQ(::pwrite(file.get(), &flipped, 1, static_cast<off_t>(at)), 1);
    const bool in_gap = at >= 136 && at < kPageBytes;  // between header and pages: nothing is there
    EXPECT_EQ(read_image(file).ok() && load_image(file).ok(), in_gap) << at;
    ASSERT_EQ(::pwrite(file.get(), &byte, 1, static_cast<off_t>(at)), 1);
  }
}

TEST(ImageCheck, NonsenseIsRefused) {
  const auto refused = [](const std::function<void(Image&)>& spoil) {
    Image image = small_image();
    image.pages_bytes = 2 * kPageBytes;
    spoil(image);
    return !validate_image(image, kPageBytes, 3 * kPageBytes).ok();
  };
  EXPECT_FALSE(refused([](Image&) {}));
  EXPECT_TRUE(refused([](Image& image) { image.mappings[0].end = 0x14001; }));
  EXPECT_TRUE(refused([](Image& image) { image.mappings[0].end = image.mappings[0].start; }));
  EXPECT_TRUE(refused([](Image& image) { image.mappings.push_back(image.mappings[0]); }));
  EXPECT_TRUE(refused([](Image& image) { image.mappings[0].runs[0].end = 0x15000; }));
  EXPECT_TRUE(refused([](Image& image) { image.mappings[0].runs[0].offset = 0; }));
  EXPECT_TRUE(refused([](Image& image) { image.mappings[0].runs[0].offset = 2 * kPageBytes; }));
  EXPECT_TRUE(refused([](Image& image) { image.mappings[0].kind = MappingKind::file; }));
  EXPECT_TRUE(refused([](Image& image) { image.threads.clear(); }));
  EXPECT_TRUE(refused([](Image& image) { image.threads[0].tid = 3; }));
  EXPECT_TRUE(refused([](Image& image) { image.threads[0].xstate.resize(100); }));
  EXPECT_TRUE(refused([](Image& image) { image.descriptors.push_back(image.descriptors[0]); }));
  EXPECT_TRUE(refused([](Image& image) { image.descriptors[0].numbers = {}; }));
  EXPECT_TRUE(refused([](Image& image) { image.descriptors[0].path = "dev/null"; }));
  EXPECT_TRUE(refused([](Image& image) { image.process.executable = std::string("/a\0b", 4); }));
}

}  // namespace
}  // namespace thaw::snapshot
