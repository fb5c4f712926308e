#include "snapshot/freeze_pages.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <future>
#include <memory>

namespace thaw::snapshot {
namespace {

constexpr std::uint64_t kBlockBytes = 1 << 20;
constexpr std::size_t kBlocksEach = 2;  // that each worker may be ahead

bool holds_zeros(const std::byte* page) {
  return page[0] == std::byte{0} && std::memcmp(page, page + 1, kPageBytes - 1) == 0;
}

}  // namespace

// What one worker reads at a time.
struct PageCopier::Block {
  std::span<const Segment> segments;
  std::unique_ptr<std::byte[]> bytes;
  std::unique_ptr<std::uint8_t[]> is_zero;  // of each page
};

void PageCopier::add(ReadPages read, Zeros zeros, std::vector<PageRun>& runs) {
  const std::size_t source = sources_.size();
  sources_.push_back({std::move(read), zeros, &runs});
  for (const PageRun& run : runs) {
    for (std::uint64_t at = run.start; at < run.end; at += kBlockBytes)
      segments_.push_back({source, at, std::min(run.end - at, kBlockBytes)});
  }
  runs.clear();
}

Status PageCopier::read(Block& block) const {
  std::byte* into = block.bytes.get();
  std::uint8_t* is_zero = block.is_zero.get();
  for (const Segment& segment : block.segments) {
    const Source& source = sources_[segment.source];
    RETURN_IF_ERROR(source.read(segment.at, {into, segment.bytes}));
    for (std::uint64_t page = 0; page < segment.bytes; page += kPageBytes)
      *is_zero++ = source.zeros == Zeros::skip && holds_zeros(into + page) ? 1 : 0;
    into += segment.bytes;
  }
  return {};
}

Status PageCopier::append(const Block& block) {
  const std::byte* bytes = block.bytes.get();
  const std::uint8_t* is_zero = block.is_zero.get();
  for (const Segment& segment : block.segments) {
    RETURN_IF_ERROR(append_segment(segment, bytes, is_zero));
    bytes += segment.bytes;
    is_zero += segment.bytes / kPageBytes;
  }
  return {};
}

Status PageCopier::append_segment(const Segment& segment, const std::byte* bytes, const std::uint8_t* is_zero) {
  std::vector<PageRun>& runs = *sources_[segment.source].result;
  const std::uint64_t pages = segment.bytes / kPageBytes;
  for (std::uint64_t from = 0; from < pages;) {
    std::uint64_t to = from;
    while (to < pages && is_zero[to] == 0) ++to;
    if (to > from) {
      ASSIGN_OR_RETURN(const std::uint64_t offset,
                       writer_.append({bytes + from * kPageBytes, (to - from) * kPageBytes}));
      const PageRun run{.start = segment.at + from * kPageBytes, .end = segment.at + to * kPageBytes, .offset = offset};
      const bool follows = !runs.empty() && runs.back().end == run.start &&
                           runs.back().offset + (run.start - runs.back().start) == run.offset;
      if (follows) {
        runs.back().end = run.end;
      } else {
        runs.push_back(run);
      }
    }
    from = to;
    while (from < pages && is_zero[from] != 0) ++from;
  }
  return {};
}

Status PageCopier::copy() {
  struct Ahead {
    std::unique_ptr<Block> block;
    std::future<Status> read;
  };
  std::deque<Ahead> ahead;
  std::vector<std::unique_ptr<Block>> idle;
  const auto take_first = [&]() -> Status {
    Ahead first = std::move(ahead.front());
    ahead.pop_front();
    // A page that only the tracer itself may read (a kernel with proc_mem.force_override=ptrace) is read here.
    if (!first.read.get().ok()) RETURN_IF_ERROR(read(*first.block));
    RETURN_IF_ERROR(append(*first.block));
    idle.push_back(std::move(first.block));
    return {};
  };
  Status outcome;
  for (std::size_t from = 0; from < segments_.size() && outcome.ok();) {
    std::size_t to = from;
    for (std::uint64_t bytes = 0; to < segments_.size() && bytes + segments_[to].bytes <= kBlockBytes; ++to)
      bytes += segments_[to].bytes;
    if (idle.empty()) {
      idle.push_back(std::make_unique<Block>());
      idle.back()->bytes = std::make_unique_for_overwrite<std::byte[]>(kBlockBytes);
      idle.back()->is_zero = std::make_unique_for_overwrite<std::uint8_t[]>(kBlockBytes / kPageBytes);
    }
    Ahead next{std::move(idle.back()), {}};
    idle.pop_back();
    next.block->segments = std::span(segments_).subspan(from, to - from);
    next.read = writer_.workers().run([this, block = next.block.get()] { return read(*block); });
    ahead.push_back(std::move(next));
    if (ahead.size() >= writer_.workers().count() * kBlocksEach) outcome = take_first();
    from = to;
  }
  while (!ahead.empty() && outcome.ok()) outcome = take_first();
  // Nobody may still be writing into a block when it goes.
  for (const Ahead& one : ahead) one.read.wait();
  sources_.clear();
  segments_.clear();
  return outcome;
}

}  // namespace thaw::snapshot
