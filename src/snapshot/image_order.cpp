#include "snapshot/image_order.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "snapshot/great_ranges.h"
#include "snapshot/image_file.h"
#include "snapshot/image_memory.h"

namespace thaw::snapshot {
namespace {

constexpr unsigned kThreadsMax = 8;

class Orderer {
 public:
  Orderer(const UniqueFd& from, Image image, const UniqueFd& to)
      : from_(from),
        image_(std::move(image)),
        writer_(to, std::clamp(std::thread::hardware_concurrency(), 1U, kThreadsMax)) {}

  Status run(const WorkingSet& set) {
    const std::vector<AddressRange> great = great_ranges(image_);
    RETURN_IF_ERROR(take_eager());
    for (const AddressRange& range : great) RETURN_IF_ERROR(take_lazy(range));
    for (const AddressRange& range : set.ranges) RETURN_IF_ERROR(take_lazy(range));
    image_.hot_end = end_;
    for (const AddressRange& range : left_.all()) RETURN_IF_ERROR(take_lazy(range));
    for (Mapping& mapping : image_.mappings) join(mapping.runs);
    const auto written = writer_.finish(image_);
    return written.ok() ? Status() : Status(written.error());
  }

 private:
  // A run of a lazy mapping as it lies in the old file.
  struct Source {
    PageRun run;
    Mapping* mapping = nullptr;
  };

  Status take_eager() {
    for (Object& object : image_.objects) {
      for (PageRun& run : object.runs) RETURN_IF_ERROR(copy(run));
    }
    for (Mapping& mapping : image_.mappings) {
      if (!is_lazy(mapping)) {
        for (PageRun& run : mapping.runs) RETURN_IF_ERROR(copy(run));
        continue;
      }
      for (const PageRun& run : mapping.runs) {
        sources_.push_back({run, &mapping});
        left_.add({run.start, run.end});
      }
    }
    // is_lazy() asks for runs: they go only when all mappings have been asked.
    for (const Source& source : sources_) source.mapping->runs.clear();
    return {};
  }

  Status take_lazy(AddressRange wanted) {
    for (const AddressRange& range : left_.within(wanted)) {
      left_.subtract(range);
      auto at = std::upper_bound(sources_.begin(), sources_.end(), range.start,
                                 [](std::uint64_t address, const Source& source) { return address < source.run.end; });
      for (; at != sources_.end() && at->run.start < range.end; ++at) {
        PageRun part{
            .start = std::max(at->run.start, range.start), .end = std::min(at->run.end, range.end), .offset = 0};
        part.offset = at->run.offset + (part.start - at->run.start);
        RETURN_IF_ERROR(copy(part));
        at->mapping->runs.push_back(part);
      }
    }
    return {};
  }

  // The run lies in the new file afterwards.
  Status copy(PageRun& run) {
    const std::uint64_t bytes = run.end - run.start;
    std::uint64_t placed = 0;
    for (std::uint64_t done = 0; done < bytes;) {
      buffer_.resize(std::min<std::uint64_t>(bytes - done, kChunkBytes));
      RETURN_IF_ERROR(read_exactly(from_, buffer_, run.offset + done));
      ASSIGN_OR_RETURN(const std::uint64_t at, writer_.append(buffer_));
      if (done == 0) placed = at;
      done += buffer_.size();
    }
    run.offset = placed;
    end_ = placed + bytes;
    return {};
  }

  static void join(std::vector<PageRun>& runs) {
    std::sort(runs.begin(), runs.end(), [](const PageRun& a, const PageRun& b) { return a.start < b.start; });
    std::vector<PageRun> joined;
    for (const PageRun& run : runs) {
      const bool follows = !joined.empty() && joined.back().end == run.start &&
                           joined.back().offset + (run.start - joined.back().start) == run.offset;
      if (follows) {
        joined.back().end = run.end;
      } else {
        joined.push_back(run);
      }
    }
    runs = std::move(joined);
  }

  const UniqueFd& from_;
  Image image_;
  ImageWriter writer_;
  std::vector<Source> sources_;  // ascending
  AddressRanges left_;           // lazy pages that have no place yet
  std::uint64_t end_ = kPageBytes;
  std::vector<std::byte> buffer_;
};

}  // namespace

Status order_image(const UniqueFd& from, const WorkingSet& set, const UniqueFd& to) {
  ASSIGN_OR_RETURN(Image image, read_image(from));
  return Orderer(from, std::move(image), to).run(set);
}

}  // namespace thaw::snapshot
