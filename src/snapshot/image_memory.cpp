#include "snapshot/image_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/sys.h"
#include "snapshot/image_file.h"

namespace thaw::snapshot {
namespace {

constexpr unsigned kThreadsMax = 8;
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

class Loader {
 public:
  Loader(const UniqueFd& file, const UniqueFd& memory, const ImageChunks& chunks, std::vector<Placement> placements)
      : file_(file), memory_(memory), chunks_(chunks), placements_(std::move(placements)) {}

  Status run() {
    const unsigned wanted = std::clamp(std::thread::hardware_concurrency(), 1U, kThreadsMax);
    const auto count = static_cast<unsigned>(std::min<std::size_t>(wanted, chunks_.digests.size()));
    {
      std::vector<std::jthread> others;
      for (unsigned i = 1; i < count; ++i) others.emplace_back([this] { work(); });
      work();
    }
    if (failed_) return *failed_;
    return {};
  }

 private:
  void work() {
    std::vector<std::byte> buffer(kChunkBytes);
    for (std::size_t chunk = 0; (chunk = next_.fetch_add(1)) < chunks_.digests.size();) {
      const Status status = load(chunk, buffer);
      if (status.ok()) continue;
      next_ = chunks_.digests.size();
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

  const UniqueFd& file_;
  const UniqueFd& memory_;
  const ImageChunks& chunks_;
  const std::vector<Placement> placements_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::optional<Error> failed_;  // guarded by mutex_
};

Result<UniqueFd> new_memory(const char* name) {
  UniqueFd file(::memfd_create(name, MFD_CLOEXEC));
  if (!file.valid()) return sys::errno_error("memfd_create");
  return file;
}

}  // namespace

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

Result<ImageMemory> load_image(const UniqueFd& file) {
  ASSIGN_OR_RETURN(const Image image, read_image(file));
  ASSIGN_OR_RETURN(const ImageChunks chunks, read_chunks(file));
  ImageMemory memory;
  ASSIGN_OR_RETURN(memory.pages, new_memory(kImageMemoryName));
  ASSIGN_OR_RETURN(memory.working_set, new_memory("thaw-working-set"));
  // A mapping that grows must not reach the end of the file, where a fault is fatal.
  if (::ftruncate(memory.pages.get(), static_cast<off_t>(kImageBase + chunks.file_bytes)) != 0)
    return sys::errno_error("the size of an image in memory");
  RETURN_IF_ERROR(Loader(file, memory.pages, chunks, placements_of(image)).run());
  for (const auto& [offset, bytes] : chunks.around) {
    std::vector<std::byte> copy(bytes);
    RETURN_IF_ERROR(read_exactly(file, copy, offset));
    RETURN_IF_ERROR(sys::pwrite_all(memory.pages, {reinterpret_cast<const char*>(copy.data()), copy.size()},
                                    static_cast<off_t>(kImageBase + offset)));
  }
  memory.bytes = chunks.file_bytes;
  return memory;
}

}  // namespace thaw::snapshot
