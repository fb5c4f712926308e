#include "snapshot/image_order.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <future>

#include "base/sys.h"
#include "snapshot/image_file.h"
#include "snapshot/image_memory.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint64_t kHeap = 0x10000000;
constexpr std::uint64_t kStack = 0x20000000;
constexpr std::size_t kHeapPages = 1000;  // several chunks

UniqueFd new_file() { return UniqueFd(::memfd_create("image", MFD_CLOEXEC)); }

std::vector<std::byte> page_of(std::size_t number) {
  std::vector<std::byte> page(kPageBytes, static_cast<std::byte>(number));
  std::memcpy(page.data(), &number, sizeof(number));
  return page;
}

// A heap of kHeapPages pages, and a stack of two that every restore copies, behind it in the file.
UniqueFd image_with_heap() {
  Image image;
  image.fingerprint = {"6.1", "flags: sse2"};
  image.process.pid = 2;
  image.process.executable = "/usr/bin/true";
  image.process.working_directory = "/";
  Thread leader;
  leader.tid = 2;
  leader.xstate.resize(832);
  image.threads.push_back(leader);
  UniqueFd file = new_file();
  ImageWriter writer(file);
  Mapping heap{.start = kHeap, .end = kHeap + kHeapPages * kPageBytes, .protection = 3, .flags = MAP_PRIVATE};
  heap.runs = {{.start = heap.start, .end = heap.end, .offset = kPageBytes}};
  Mapping stack{.start = kStack, .end = kStack + 2 * kPageBytes, .protection = 3, .flags = MAP_PRIVATE | MAP_GROWSDOWN};
  stack.runs = {{.start = stack.start, .end = stack.end, .offset = (kHeapPages + 1) * kPageBytes}};
  image.mappings = {heap, stack};
  for (std::size_t i = 0; i < kHeapPages + 2; ++i) EXPECT_TRUE(writer.append(page_of(i)).ok());
  EXPECT_TRUE(writer.finish(image).ok());
  return file;
}

std::size_t number_at(const UniqueFd& memory, std::uint64_t offset) {
  std::size_t number = ~std::size_t{0};
  EXPECT_EQ(::pread(memory.get(), &number, sizeof(number), static_cast<off_t>(offset)), 8);
  return number;
}

WorkingSet used(std::vector<AddressRange> ranges) { return {.lessons = 1, .ranges = std::move(ranges)}; }

AddressRange heap_pages(std::size_t from, std::size_t to) {
  return {kHeap + from * kPageBytes, kHeap + to * kPageBytes};
}

TEST(ImageOrder, WhatIsNeededComesFirstAndNothingIsLost) {
  const UniqueFd file = image_with_heap();
  const UniqueFd ordered = new_file();
  // Overlapping, out of order, and partly outside of the image.
  const WorkingSet set = used({heap_pages(700, 710), heap_pages(5, 8), heap_pages(705, 712), {0x1000, 0x2000}});
  ASSERT_TRUE(order_image(file, set, ordered).ok());
  const auto image = read_image(ordered);
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_EQ(image->hot_end, (1 + 2 + 12 + 3) * kPageBytes);
  EXPECT_EQ(image->mappings[1].runs.at(0).offset, kPageBytes) << "the stack is copied by every restore";
  EXPECT_TRUE(verify_pages(ordered).ok());
  const auto memory = load_image(ordered);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  ASSERT_TRUE(memory->whole().ok());
  EXPECT_TRUE(is_whole(memory->pages));
  for (std::size_t i = 0; i < kHeapPages; ++i) ASSERT_EQ(number_at(memory->pages, kHeap + i * kPageBytes), i);
  EXPECT_EQ(number_at(memory->pages, kImageBase + kPageBytes), kHeapPages);
  // The order of the pages is the order of use.
  const WorkingSet found = read_working_set(memory->working_set);
  ASSERT_EQ(found.ranges.size(), 3U);
  EXPECT_EQ(found.ranges[0], heap_pages(700, 710));
  EXPECT_EQ(found.ranges[1], heap_pages(5, 8));
  EXPECT_EQ(found.ranges[2], heap_pages(710, 712));
}

TEST(ImageOrder, OrderingTwiceIsTheSame) {
  const UniqueFd file = image_with_heap();
  const UniqueFd once = new_file();
  const UniqueFd twice = new_file();
  const WorkingSet set = used({heap_pages(900, 901), heap_pages(0, 3)});
  ASSERT_TRUE(order_image(file, set, once).ok());
  ASSERT_TRUE(order_image(once, set, twice).ok());
  const auto first = sys::read_fd(once, 64 << 20, "once");
  const auto second = sys::read_fd(twice, 64 << 20, "twice");
  ::lseek(once.get(), 0, SEEK_SET);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(*first == *second);
}

TEST(ImageOrder, DamageBehindTheFirstPartIsToldLater) {
  const UniqueFd file = image_with_heap();
  const UniqueFd ordered = new_file();
  ASSERT_TRUE(order_image(file, used({heap_pages(0, 3)}), ordered).ok());
  // In the last chunk of pages.
  const auto chunks = read_chunks(ordered);
  ASSERT_TRUE(chunks.ok());
  ASSERT_GT(chunks->digests.size(), 2U);
  ASSERT_EQ(::pwrite(ordered.get(), "x", 1, static_cast<off_t>(chunks->pages_end - 7)), 1);
  std::promise<std::string> told;
  const auto memory = load_image(ordered, {.rest_failed = [&](const Error& error) { told.set_value(error.message); }});
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  auto future = told.get_future();
  ASSERT_EQ(future.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_NE(future.get().find("checksum of chunk"), std::string::npos);
  EXPECT_EQ(memory->whole().error().kind, ErrorKind::corrupt);
  EXPECT_FALSE(is_whole(memory->pages));
  // No wrong byte is there: the damaged page is missing.
  EXPECT_EQ(number_at(memory->pages, kHeap + (kHeapPages - 1) * kPageBytes), 0U);
}

TEST(ImageOrder, DamageInTheFirstPartIsRefused) {
  const UniqueFd file = image_with_heap();
  const UniqueFd ordered = new_file();
  ASSERT_TRUE(order_image(file, used({heap_pages(0, 3)}), ordered).ok());
  ASSERT_EQ(::pwrite(ordered.get(), "x", 1, kPageBytes + 9), 1);
  const auto memory = load_image(ordered);
  ASSERT_FALSE(memory.ok());
  EXPECT_EQ(memory.error().kind, ErrorKind::corrupt);
}

}  // namespace
}  // namespace thaw::snapshot
