// Copies runs of pages into an image file: several threads read and look for zeros, one puts the pages in their order,
// several hash and write (image_file.h).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "snapshot/image.h"
#include "snapshot/image_file.h"

namespace thaw::snapshot {

// Fills `into` from the place `at`. Called by several threads at a time.
using ReadPages = std::function<Status(std::uint64_t at, std::span<std::byte> into)>;

enum class Zeros { skip, keep };

// Ownership: borrows the writer and every list of runs until copy() returns. Threads: one; it uses the writer's
// workers.
class PageCopier {
 public:
  explicit PageCopier(ImageWriter& writer) : writer_(writer) {}

  // Pages [start, end) of each run are read by `read`. copy() replaces the runs by those that lie in the image: with
  // their offsets and, with Zeros::skip, without the pages that hold nothing else.
  void add(ReadPages read, Zeros zeros, std::vector<PageRun>& runs);
  // Everything that was added, in that order.
  Status copy();

 private:
  struct Source {
    ReadPages read;
    Zeros zeros = Zeros::skip;
    std::vector<PageRun>* result = nullptr;
  };
  struct Segment {
    std::size_t source = 0;
    std::uint64_t at = 0;
    std::uint64_t bytes = 0;
  };
  struct Block;

  Status read(Block& block) const;
  Status append(const Block& block);
  Status append_segment(const Segment& segment, const std::byte* bytes, const std::uint8_t* is_zero);

  ImageWriter& writer_;
  std::vector<Source> sources_;
  std::vector<Segment> segments_;  // of at most one block's size each
};

}  // namespace thaw::snapshot
