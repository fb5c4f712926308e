#include "snapshot/image_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
#include "base/uuid.h"
#include "snapshot/great_ranges.h"
#include "snapshot/image_file.h"
#include "snapshot/pager.h"
#include "snapshot/working_set.h"

namespace thaw::snapshot {
namespace {

constexpr unsigned kThreadsMax = 8;
constexpr int kRestNice = 10;
constexpr std::uint64_t kMappedRunBytesMin = 8 * kPageBytes;
constexpr std::string_view kImageMemoryName = "thaw-image";  // in /proc/PID/maps of a clone

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

// A file of the folder that has no name any more: maps of clones show the last one it had.
Result<UniqueFd> new_memory_in(const std::string& folder) {
  const std::string own = folder + "/" + random_uuid();
  if (::mkdir(own.c_str(), 0700) != 0) return sys::errno_error(own);
  const std::string path = own + "/" + std::string(kImageMemoryName);
  auto file = sys::open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  (void)::unlink(path.c_str());
  (void)::rmdir(own.c_str());
  return file;
}

// The great ranges of an image in memory, mapped while they are filled. Threads: any, each at bytes of its own.
class GreatMemory {
 public:
  GreatMemory() = default;
  GreatMemory(const GreatMemory&) = delete;
  GreatMemory& operator=(const GreatMemory&) = delete;
  ~GreatMemory() { unmap(); }

  Status map(const UniqueFd& memory, const std::vector<AddressRange>& ranges) {
    for (const AddressRange& range : ranges) {
      const std::uint64_t bytes = range.end - range.start;
      void* const place =
          ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), static_cast<off_t>(range.start));
      if (place == MAP_FAILED) return sys::errno_error("map memory for an image");
      mapped_.push_back({range, static_cast<std::byte*>(place)});
      (void)::madvise(place, bytes, MADV_HUGEPAGE);
      // Where there is no room this is an error; a write would be a SIGBUS.
      if (::madvise(place, bytes, MADV_POPULATE_WRITE) != 0)
        return Error{ErrorKind::unavailable, "there is no memory for an image: " + std::string(std::strerror(errno))};
    }
    return {};
  }

  void unmap() {
    for (const Part& part : mapped_) ::munmap(part.place, part.range.end - part.range.start);
    mapped_.clear();
  }

  // Puts bytes where they belong, in great memory or in the file.
  Status write(const UniqueFd& memory, std::span<const std::byte> bytes, std::uint64_t to) const {
    for (const Part& part : mapped_) {
      if (bytes.empty() || part.range.start >= to + bytes.size()) break;
      if (part.range.end <= to) continue;
      const std::uint64_t before = part.range.start > to ? part.range.start - to : 0;
      RETURN_IF_ERROR(write_small(memory, bytes.first(before), to));
      bytes = bytes.subspan(before);
      to += before;
      const std::size_t count = std::min<std::uint64_t>(bytes.size(), part.range.end - to);
      std::memcpy(part.place + (to - part.range.start), bytes.data(), count);
      bytes = bytes.subspan(count);
      to += count;
    }
    return write_small(memory, bytes, to);
  }

 private:
  struct Part {
    AddressRange range;
    std::byte* place = nullptr;
  };

  static Status write_small(const UniqueFd& memory, std::span<const std::byte> bytes, std::uint64_t to) {
    if (bytes.empty()) return {};
    return sys::pwrite_all(memory, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, static_cast<off_t>(to));
  }

  std::vector<Part> mapped_;  // ascending
};

// In the header's page, behind the header: 1 once all pages are there.
constexpr std::uint64_t kWholeMark = kImageBase + kPageBytes - sizeof(std::uint64_t);

// Where the pages end without which no clone can be made; the end of all when clones could not wait for the others.
std::uint64_t ready_end(const Image& image, const ImageChunks& chunks, const ProgramData& program_data) {
  if (image.hot_end == 0) return chunks.pages_end;
  AddressRanges lazy;
  AddressRanges great;
  for (const AddressRange& range : great_ranges(image)) great.add(range);
  std::uint64_t end = image.hot_end;
  for (const Mapping& mapping : image.mappings) {
    for (const PageRun& run : mapping.runs) {
      if (is_lazy(mapping)) {
        lazy.add({run.start, run.end});
        // Nobody waits for the pages of great memory: they must be there.
        for (const AddressRange& part : great.within({run.start, run.end}))
          end = std::max(end, run.offset + (part.end - run.start));
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
  const std::vector<AddressRange> great = great_ranges(image);
  for (const PageRun& run : hot) {
    AddressRanges small;
    small.add({run.start, std::min(run.end, run.start + (image.hot_end - run.offset))});
    for (const AddressRange& range : great) small.subtract(range);
    for (const AddressRange& range : small.all()) ranges.push_back(range);
  }
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
  Status run_ready(std::uint64_t end, const std::vector<AddressRange>& great) {
    RETURN_IF_ERROR(great_.map(memory_, great));
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

  void start_rest(std::function<void(const Error&)> failed) {
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
    great_.unmap();
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
      RETURN_IF_ERROR(great_.write(memory_, bytes.subspan(from - begin, to - from), at->to + (from - at->from)));
    }
    return {};
  }

  // Of whoever loads: the caller, then the thread of the rest.
  UniqueFd file_;
  UniqueFd memory_;
  GreatMemory great_;
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

bool is_image_memory(const std::string& name) {
  constexpr std::string_view kDeleted = " (deleted)";
  std::string_view path = name;
  if (!path.ends_with(kDeleted)) return false;
  path.remove_suffix(kDeleted.size());
  return path.ends_with(kImageMemoryName) && path.size() > kImageMemoryName.size() &&
         (path[path.size() - kImageMemoryName.size() - 1] == '/' || path.starts_with("/memfd:"));
}

Result<ImageMemory> load_image(const UniqueFd& file, const LoadOptions& options) {
  ASSIGN_OR_RETURN(const Image image, read_image(file));
  ASSIGN_OR_RETURN(ImageChunks chunks, read_chunks(file));
  ImageMemory memory;
  memory.bytes = chunks.file_bytes;
  auto huge = options.folder.empty() ? Result<UniqueFd>(Error()) : new_memory_in(options.folder);
  if (!huge.ok()) huge = new_memory(std::string(kImageMemoryName).c_str());
  if (!huge.ok()) return huge.error();
  memory.pages = std::move(*huge);
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
  RETURN_IF_ERROR(memory.loading->run_ready(end, great_ranges(image)));
  memory.loading->start_rest(options.rest_failed);
  return memory;
}

}  // namespace thaw::snapshot
