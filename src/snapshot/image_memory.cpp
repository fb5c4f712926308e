#include "snapshot/image_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/sys.h"
#include "snapshot/image_file.h"
#include "snapshot/pager.h"
#include "snapshot/working_set.h"

namespace thaw::snapshot {
namespace {

constexpr unsigned kThreadsMax = 8;
constexpr int kRestNice = 10;
constexpr std::uint64_t kMappedRunBytesMin = 8 * kPageBytes;

// Where pages of the file go. Ascending by `from`; between them lies nothing.
struct Placement {
  std::uint64_t from = 0;
  std::uint64_t end = 0;
  std::uint64_t to = 0;
};

std::vector<Placement> placements_of(const Image& image) {
  std::vector<Placement> placements;
  const ProgramData program_data(image);
  for (const Mapping& mapping : image.mappings) {
    for (const PageRun& run : mapping.runs) {
      const std::uint64_t bytes = run.end - run.start;
      const bool at_address = is_lazy(mapping) || program_data.maps(mapping, run);
      placements.push_back({run.offset, run.offset + bytes, at_address ? run.start : kImageBase + run.offset});
    }
  }
  for (const Object& object : image.objects) {
    for (const PageRun& run : object.runs)
      placements.push_back({run.offset, run.offset + (run.end - run.start), kImageBase + run.offset});
  }
  std::sort(placements.begin(), placements.end(),
            [](const Placement& a, const Placement& b) { return a.from < b.from; });
  return placements;
}

Result<UniqueFd> new_memory(const char* name) {
  UniqueFd file(::memfd_create(name, MFD_CLOEXEC));
  if (!file.valid()) return sys::errno_error("memfd_create");
  return file;
}

// In the header's page, behind the header: 1 once all pages are there.
constexpr std::uint64_t kWholeMark = kImageBase + kPageBytes - sizeof(std::uint64_t);

// Where the pages end without which no clone can be made; the end of all when clones could not wait for the others.
std::uint64_t ready_end(const Image& image, const ImageChunks& chunks, const ProgramData& program_data) {
  if (image.hot_end == 0) return chunks.pages_end;
  AddressRanges lazy;
  std::uint64_t end = image.hot_end;
  for (const Mapping& mapping : image.mappings) {
    for (const PageRun& run : mapping.runs) {
      if (is_lazy(mapping)) {
        lazy.add({run.start, run.end});
      } else {
        end = std::max(end, run.offset + (run.end - run.start));
      }
      if (program_data.maps(mapping, run)) end = std::max(end, run.offset + (run.end - run.start));
    }
  }
  for (const Object& object : image.objects) {
    for (const PageRun& run : object.runs) end = std::max(end, run.offset + (run.end - run.start));
  }
  return lazy.size() > kPagerRangesMax ? chunks.pages_end : end;
}

// The working set that the order of the pages tells.
std::vector<AddressRange> order_of_use(const Image& image) {
  std::vector<PageRun> hot;
  for (const Mapping& mapping : image.mappings) {
    if (!is_lazy(mapping)) continue;
    for (const PageRun& run : mapping.runs) {
      if (run.offset < image.hot_end) hot.push_back(run);
    }
  }
  std::sort(hot.begin(), hot.end(), [](const PageRun& a, const PageRun& b) { return a.offset < b.offset; });
  std::vector<AddressRange> ranges;
  for (const PageRun& run : hot)
    ranges.push_back({run.start, std::min(run.end, run.start + (image.hot_end - run.offset))});
  return ranges;
}

}  // namespace

// Ownership: its own descriptors. Threads: run_ready() and start_rest() once, on one; whole() any.
class ImageLoading {
 public:
  ImageLoading(UniqueFd file, UniqueFd memory, ImageChunks chunks, std::vector<Placement> placements)
      : file_(std::move(file)),
        memory_(std::move(memory)),
        chunks_(std::move(chunks)),
        placements_(std::move(placements)) {}
  ~ImageLoading() {
    stopped_ = true;
    if (rest_.joinable()) rest_.join();
  }

  // Chunks up to `end`, on several threads.
  Status run_ready(std::uint64_t end) {
    end_ = static_cast<std::size_t>((end - kPageBytes + kChunkBytes - 1) / kChunkBytes);
    const unsigned wanted = std::clamp(std::thread::hardware_concurrency(), 1U, kThreadsMax);
    const auto count = static_cast<unsigned>(std::min<std::size_t>(wanted, end_));
    {
      std::vector<std::jthread> others;
      for (unsigned i = 1; i < count; ++i) others.emplace_back([this] { work(); });
      work();
    }
    return outcome();
  }

  void start_rest(RestFailed failed) {
    if (end_ == chunks_.digests.size()) {
      finish();
      return;
    }
    next_ = end_;
    end_ = chunks_.digests.size();
    rest_ = std::jthread([this, tell = std::move(failed)] {
      // Clones run meanwhile. Linux keeps a nice value for each thread.
      ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kRestNice);
      work();
      const Status done = stopped_ ? Status(Error{ErrorKind::unavailable, "snapshot: given up"}) : outcome();
      if (!done.ok() && !stopped_ && tell) tell(done.error());
      done.ok() ? finish() : give_up();
    });
  }

  Status whole() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_; });
    if (failed_) return *failed_;
    if (!whole_) return Error{ErrorKind::unavailable, "snapshot: its loading was given up"};
    return {};
  }

 private:
  Status outcome() {
    const std::lock_guard lock(mutex_);
    return failed_ ? Status(*failed_) : Status();
  }

  // The file may have no name any more: its space on the disk is free when nobody holds it.
  void release() {
    file_.reset();
    memory_.reset();
    chunks_ = {};
    placements_ = {};
  }

  void finish() {
    const std::uint64_t mark = 1;
    (void)sys::pwrite_all(memory_, {reinterpret_cast<const char*>(&mark), sizeof(mark)},
                          static_cast<off_t>(kWholeMark));
    release();
    const std::lock_guard lock(mutex_);
    whole_ = ended_ = true;
    changed_.notify_all();
  }

  void give_up() {
    release();
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  void work() {
    std::vector<std::byte> buffer(kChunkBytes);
    for (std::size_t chunk = 0; !stopped_ && (chunk = next_.fetch_add(1)) < end_;) {
      const Status status = load(chunk, buffer);
      if (status.ok()) continue;
      next_ = end_;
      const std::lock_guard lock(mutex_);
      if (!failed_) failed_ = status.error();
    }
  }

  Status load(std::size_t chunk, std::span<std::byte> buffer) {
    const std::uint64_t begin = kPageBytes + chunk * kChunkBytes;
    const std::uint64_t end = std::min(begin + kChunkBytes, chunks_.pages_end);
    const std::span<std::byte> bytes = buffer.first(end - begin);
    RETURN_IF_ERROR(read_chunk(file_, chunks_, chunk, bytes));
    auto at = std::lower_bound(placements_.begin(), placements_.end(), begin,
                               [](const Placement& one, std::uint64_t offset) { return one.end <= offset; });
    for (; at != placements_.end() && at->from < end; ++at) {
      const std::uint64_t from = std::max(at->from, begin);
      const std::uint64_t to = std::min(at->end, end);
      const char* const first = reinterpret_cast<const char*>(bytes.data()) + (from - begin);
      RETURN_IF_ERROR(sys::pwrite_all(memory_, {first, to - from}, static_cast<off_t>(at->to + (from - at->from))));
    }
    return {};
  }

  // Of whoever loads: the caller, then the thread of the rest.
  UniqueFd file_;
  UniqueFd memory_;
  ImageChunks chunks_;
  std::vector<Placement> placements_;
  std::size_t end_ = 0;  // of the chunks that are being loaded; set while no thread runs
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::optional<Error> failed_;
  bool whole_ = false;
  bool ended_ = false;
  std::jthread rest_;
};

bool is_lazy(const Mapping& mapping) {
  constexpr std::uint32_t kExcept = MAP_GROWSDOWN | MAP_SHARED;
  return mapping.kind == MappingKind::anonymous && !mapping.runs.empty() && (mapping.flags & kExcept) == 0 &&
         !mapping.locked &&
         std::find(mapping.advice.begin(), mapping.advice.end(), std::uint32_t{MADV_WIPEONFORK}) ==
             mapping.advice.end();
}

ProgramData::ProgramData(const Image& image) {
  for (const Mapping& mapping : image.mappings) {
    if (mapping.kind == MappingKind::file && (mapping.protection & PROT_EXEC) != 0)
      programs_.emplace(mapping.file.device, mapping.file.inode);
  }
}

bool ProgramData::maps(const Mapping& mapping, const PageRun& run) const {
  return mapping.kind == MappingKind::file && run.end - run.start >= kMappedRunBytesMin && !mapping.locked &&
         programs_.contains({mapping.file.device, mapping.file.inode});
}

Status ImageMemory::whole() const { return loading->whole(); }

bool is_whole(const UniqueFd& pages) {
  std::uint64_t mark = 0;
  return ::pread(pages.get(), &mark, sizeof(mark), static_cast<off_t>(kWholeMark)) == sizeof(mark) && mark == 1;
}

Result<ImageMemory> load_image(const UniqueFd& file, RestFailed rest_failed) {
  ASSIGN_OR_RETURN(const Image image, read_image(file));
  ASSIGN_OR_RETURN(ImageChunks chunks, read_chunks(file));
  ImageMemory memory;
  memory.bytes = chunks.file_bytes;
  ASSIGN_OR_RETURN(memory.pages, new_memory(kImageMemoryName));
  ASSIGN_OR_RETURN(memory.working_set, new_memory("thaw-working-set"));
  if (image.hot_end != 0) RETURN_IF_ERROR(add_lesson(memory.working_set, order_of_use(image)));
  // A mapping that grows must not reach the end of the file, where a fault is fatal.
  if (::ftruncate(memory.pages.get(), static_cast<off_t>(kImageBase + chunks.file_bytes)) != 0)
    return sys::errno_error("the size of an image in memory");
  for (const auto& [offset, bytes] : chunks.around) {
    std::vector<std::byte> copy(bytes);
    RETURN_IF_ERROR(read_exactly(file, copy, offset));
    if (offset == 0) std::fill_n(copy.end() - sizeof(std::uint64_t), sizeof(std::uint64_t), std::byte{0});
    RETURN_IF_ERROR(sys::pwrite_all(memory.pages, {reinterpret_cast<const char*>(copy.data()), copy.size()},
                                    static_cast<off_t>(kImageBase + offset)));
  }
  const std::uint64_t end = ready_end(image, chunks, ProgramData(image));
  ASSIGN_OR_RETURN(UniqueFd own_file, sys::duplicate(file));
  ASSIGN_OR_RETURN(UniqueFd own_memory, sys::duplicate(memory.pages));
  memory.loading = std::make_shared<ImageLoading>(std::move(own_file), std::move(own_memory), std::move(chunks),
                                                  placements_of(image));
  RETURN_IF_ERROR(memory.loading->run_ready(end));
  memory.loading->start_rest(std::move(rest_failed));
  return memory;
}

}  // namespace thaw::snapshot
