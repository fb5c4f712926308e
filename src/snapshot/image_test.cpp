#include "snapshot/image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

// The small one with objects, a tree and descriptors of every newer kind.
Image full_image() {
  Image image = small_image();
  Object memory{.kind = ObjectKind::memfd, .name = "m", .mode = 0600, .size_bytes = 5000, .runs = {}};
  memory.runs = {{.start = kPageBytes, .end = 2 * kPageBytes, .offset = 2 * kPageBytes}};
  image.objects = {memory, {.kind = ObjectKind::named, .name = "", .mode = 0600, .size_bytes = 1, .runs = {}}};
  image.private_folders = {"/tmp"};
  image.tree = {{.path = "/tmp/folder", .mode = S_IFDIR | 0700, .target = {}},
                {.path = "/tmp/folder/file", .mode = S_IFREG | 0600, .target = {}, .object = 1},
                {.path = "/tmp/twin", .mode = S_IFREG | 0600, .target = {}, .link_of = 2},
                {.path = "/tmp/link", .mode = S_IFLNK | 0777, .target = "folder"}};
  Mapping view;
  view.kind = MappingKind::object;
  view.start = 0x20000;
  view.end = 0x22000;
  view.protection = 3;
  image.mappings.push_back(view);
  Descriptor watching;
  watching.kind = DescriptorKind::inotify;
  watching.numbers = {5, 6};
  watching.close_on_exec = {0, 1};
  watching.watches = {{.number = 2, .mask = 1, .path = "/tmp", .file = {}},
                      {.number = 7, .mask = 1, .path = "/tmp/folder", .file = {}}};
  watching.locks = {{.kind = 1, .exclusive = true, .start = 5, .length = 9}};
  watching.messages = {Bytes(3), Bytes()};
  image.descriptors.push_back(watching);
  return image;
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
  EXPECT_TRUE(refused([](Image& image) { image.threads[0].policy = 1; }));
  EXPECT_TRUE(refused([](Image& image) { image.threads[0].nice = 20; }));
  EXPECT_TRUE(refused([](Image& image) { image.process.personality = 0x0400000; }));
  EXPECT_TRUE(refused([](Image& image) { image.process.oom_score_adj = 1001; }));
}

TEST(ImageCheck, NonsenseOfFilesIsRefused) {
  const auto refused = [](const std::function<void(Image&)>& spoil) {
    Image image = full_image();
    image.pages_bytes = 2 * kPageBytes;
    spoil(image);
    return !validate_image(image, kPageBytes, 3 * kPageBytes).ok();
  };
  EXPECT_FALSE(refused([](Image&) {}));
  EXPECT_TRUE(refused([](Image& image) { image.objects[0].runs[0].end = 3 * kPageBytes; }));
  EXPECT_TRUE(refused([](Image& image) { image.objects[0].runs[0].offset = 3 * kPageBytes; }));
  EXPECT_TRUE(refused([](Image& image) { image.objects[0].size_bytes = ~0ULL; }));
  EXPECT_TRUE(refused([](Image& image) { image.objects[0].mode = 0100600; }));
  EXPECT_TRUE(refused([](Image& image) { image.objects[0].seals = 0x40; }));
  EXPECT_TRUE(refused([](Image& image) { image.mappings[1].object = 2; }));
  // The contents of a named file belong to its name only.
  EXPECT_TRUE(refused([](Image& image) { image.mappings[1].object = 1; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[1].object = 0; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[1].object = 9; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[1].path = "/etc/passwd"; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[1].path = "/tmp/folder/../../etc/passwd"; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[1].path = "/tmp//file"; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[1].path = "/tmp"; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[2].path = image.tree[1].path; }));
  // A link is no folder, and a folder comes before what is in it.
  EXPECT_TRUE(refused([](Image& image) { image.tree[3].path = "/tmp/twin/x"; }));
  EXPECT_TRUE(refused([](Image& image) { std::swap(image.tree[0], image.tree[3]); }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[2].link_of = 1; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[2].link_of = 4; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[0].mode = S_IFBLK | 0600; }));
  EXPECT_TRUE(refused([](Image& image) { image.tree[3].target = ""; }));
  EXPECT_TRUE(refused([](Image& image) { image.private_folders = {"/tmp/"}; }));
  EXPECT_TRUE(refused([](Image& image) { image.private_folders = {"/"}; }));
  EXPECT_TRUE(refused([](Image& image) { image.descriptors[1].watches[1].number = 2; }));
  EXPECT_TRUE(refused([](Image& image) { image.descriptors[1].watches[0].path = "tmp"; }));
  EXPECT_TRUE(refused([](Image& image) { image.descriptors[1].locks[0].length = ~0ULL; }));
  EXPECT_TRUE(refused(
      [](Image& image) { image.descriptors[1].kind = DescriptorKind::object, image.descriptors[1].object = 1; }));
  EXPECT_TRUE(refused([](Image& image) { image.descriptors[1].shutdown = 4; }));
}

TEST(ImageCodec, EveryFieldComesBack) {
  const std::string bytes = encode_image(full_image());
  const auto image = decode_image({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_EQ(encode_image(*image), bytes);
  EXPECT_EQ(image->objects[0].name, "m");
  EXPECT_EQ(image->tree[3].target, "folder");
  EXPECT_EQ(image->descriptors[1].watches[1].path, "/tmp/folder");
  EXPECT_EQ(image->descriptors[1].locks[0].length, 9U);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut)
    EXPECT_FALSE(decode_image({reinterpret_cast<const std::byte*>(bytes.data()), cut}).ok()) << cut;
}

// However many threads write, the file is the same.
TEST(ImageFile, ThreadsDoNotShowInTheBytes) {
  std::vector<std::vector<std::byte>> files;
  for (const std::size_t threads : {1, 2, 7}) {
    const UniqueFd file(::memfd_create("image", MFD_CLOEXEC));
    ImageWriter writer(file, threads);
    const std::vector<std::byte> all = pages(1500);
    std::uint64_t at = kPageBytes;
    for (std::size_t from = 0; from < 1500; from += 300) {
      EXPECT_EQ(*writer.append(std::span(all).subspan(from * kPageBytes, 300 * kPageBytes)), at);
      at += 300 * kPageBytes;
    }
    Image image = small_image();
    ASSERT_TRUE(writer.finish(image).ok());
    EXPECT_TRUE(load_image(file).ok());
    files.emplace_back(size_of(file));
    ASSERT_EQ(::pread(file.get(), files.back().data(), files.back().size(), 0),
              static_cast<ssize_t>(files.back().size()));
  }
  EXPECT_EQ(files[0], files[1]);
  EXPECT_EQ(files[0], files[2]);
}

TEST(ImageFile, AFullDiskIsToldAndNothingIsAnImage) {
  UniqueFd file(::open("/dev/full", O_RDWR | O_CLOEXEC));
  ImageWriter writer(file, 2);
  Image image = small_image();
  const std::vector<std::byte> all = pages(300);
  bool failed = false;
  for (int i = 0; i < 20 && !failed; ++i) failed = !writer.append(all).ok();
  EXPECT_TRUE(failed || !writer.finish(image).ok());
}

}  // namespace
}  // namespace thaw::snapshot
