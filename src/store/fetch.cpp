#include "store/fetch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "base/digest/sha256.h"
#include "base/sys.h"

namespace thaw::store {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A huge page of x86-64. A page that is written in parts is cleared first, which costs as much as the writing.
constexpr std::size_t kWriteBytes = 2 << 20;
static_assert(kDigestPieceBytes % kWriteBytes == 0);

bool is_worth_another_try(const Error& error) {
  return error.kind == ErrorKind::unavailable || error.kind == ErrorKind::timeout;
}

// Half of the doubled pause is certain, half is drawn, so that clients of a server that has stumbled do not come back
// all at once. False when the fetch was stopped meanwhile.
bool pause_before(unsigned failures, const FetchLimits& limits, const FetchState& state) {
  thread_local std::minstd_rand random{std::random_device{}()};
  const auto doubled = limits.pause_first * (1LL << std::min(failures - 1, 20U));
  const milliseconds bound = std::min<milliseconds>(doubled, limits.pause_max);
  std::uniform_int_distribution<std::int64_t> drawn(bound.count() / 2, bound.count());
  const Clock::time_point until = Clock::now() + milliseconds(drawn(random));
  while (Clock::now() < until && !state.stop) {
    std::this_thread::sleep_for(std::min<Clock::duration>(until - Clock::now(), milliseconds(50)));
  }
  return !state.stop;
}

ports::Call call_of(const FetchLimits& limits, const FetchState& state) {
  return {.deadline = Clock::now() + limits.request_max, .cancelled = &state.stop};
}

Error after_tries(Error error, unsigned failures) {
  error.message += " (after " + std::to_string(failures) + " tries)";
  return error;
}

Error stopped() { return {ErrorKind::unavailable, "the fetch was stopped", "Fetch.Cancelled"}; }

template <class Ask>
auto with_retries(const FetchLimits& limits, const FetchState& state, Ask ask) {
  for (unsigned failures = 1;; ++failures) {
    auto answer = ask(call_of(limits, state));
    if (answer.ok() || !is_worth_another_try(answer.error())) return answer;
    if (!state.stop && failures >= limits.failures_max) return decltype(answer)(after_tries(answer.error(), failures));
    if (state.stop || !pause_before(failures, limits, state)) return decltype(answer)(stopped());
  }
}

// One file while it is filled. Threads: each range of it belongs to one.
class FileInMemory {
 public:
  FileInMemory(const FileToFetch& file, UniqueFd fd) : file_(file), fd_(std::move(fd)) {
    pieces_.resize((file.object.bytes + kDigestPieceBytes - 1) / kDigestPieceBytes);
  }
  FileInMemory(const FileInMemory&) = delete;
  FileInMemory& operator=(const FileInMemory&) = delete;
  ~FileInMemory() {
    if (memory_ != nullptr) ::munmap(memory_, file_.object.bytes);
  }

  Status prepare() {
    const std::uint64_t bytes = file_.object.bytes;
    if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) return sys::errno_error("memory for the model");
    // Only the digest over the whole reads what other threads have written.
    if (bytes == 0 || file_.sha256.empty()) return {};
    void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd_.get(), 0);
    if (memory == MAP_FAILED) return sys::errno_error("map memory for the model");
    memory_ = static_cast<std::byte*>(memory);
    return {};
  }

  // By a system call and not through a mapping: a full file system is an error here and no SIGBUS, and pages that are
  // written whole are not cleared before.
  Status write(std::span<const std::byte> bytes, std::uint64_t offset) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    Status written = sys::pwrite_all(fd_, text, static_cast<off_t>(offset));
    if (!written.ok() && written.error().kind == ErrorKind::unavailable)
      return Error{ErrorKind::too_large, "the file system of the models' memory is full"};
    return written;
  }

  const FileToFetch& file() const { return file_; }
  void set_piece(std::uint64_t index, const Sha256Digest& digest) { pieces_[index] = digest; }

  // The digest over the whole goes forward over what has arrived without a gap; whoever finds it taken leaves it to the
  // one who has it. The last of the parts to arrive finds everything there.
  void advance(std::uint64_t offset, std::uint64_t bytes) {
    if (file_.sha256.empty()) return;
    {
      const std::lock_guard lock(mutex_);
      arrived_[offset] = bytes;
      if (hashing_) return;
      hashing_ = true;
    }
    for (;;) {
      std::uint64_t count = 0;
      {
        const std::lock_guard lock(mutex_);
        const auto next = arrived_.find(hashed_);
        if (next == arrived_.end()) {
          hashing_ = false;
          return;
        }
        count = next->second;
      }
      whole_.update(std::span<const std::byte>(memory_ + hashed_, count));
      const std::lock_guard lock(mutex_);
      arrived_.erase(hashed_);
      hashed_ += count;
    }
  }

  // After the last part.
  Status finish(std::string& digest_lines) {
    if (!file_.sha256.empty()) {
      if (const std::string is = hex(whole_.finish()); is != file_.sha256) {
        return Error{ErrorKind::corrupt, file_.path + ": its SHA-256 is " + is + " and should be " + file_.sha256};
      }
    }
    if (::fchmod(fd_.get(), 0444) != 0) return sys::errno_error(file_.path);
    digest_lines += std::to_string(file_.path.size()) + " " + file_.path + " " + std::to_string(file_.object.bytes);
    for (const Sha256Digest& piece : pieces_) digest_lines += " " + hex(piece);
    digest_lines += "\n";
    return {};
  }

 private:
  const FileToFetch& file_;
  const UniqueFd fd_;
  std::byte* memory_ = nullptr;
  std::vector<Sha256Digest> pieces_;

  std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> arrived_;  // guarded by mutex_: offset to bytes, not yet hashed
  bool hashing_ = false;                            // guarded by mutex_
  std::uint64_t hashed_ = 0;                        // written by the one who hashes, under mutex_
  Sha256 whole_;                                    // of the one who hashes
};

// Takes the bytes of one part as they come: digests them while they are in the processor's cache, and writes them to
// the file a huge page at a time.
class PartWriter {
 public:
  // buffer: kWriteBytes of it. offset: the part's, a multiple of them.
  PartWriter(FileInMemory& file, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> buffer)
      : file_(file), offset_(offset), bytes_(bytes), buffer_(buffer) {}

  std::uint64_t filled() const { return filled_; }

  Status take(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), buffer_.size() - waiting_));
      std::memcpy(buffer_.data() + waiting_, piece.data(), piece.size());
      digest(piece);
      waiting_ += piece.size();
      filled_ += piece.size();
      bytes = bytes.subspan(piece.size());
      if (waiting_ < buffer_.size() && filled_ < bytes_) continue;
      RETURN_IF_ERROR(file_.write(buffer_.first(waiting_), offset_ + filled_ - waiting_));
      waiting_ = 0;
    }
    return {};
  }

 private:
  // The piece ends at or before a border of digests, because buffers end there.
  void digest(std::span<const std::byte> piece) {
    hash_.update(piece);
    const std::uint64_t end = offset_ + filled_ + piece.size();
    if (end % kDigestPieceBytes != 0 && end != file_.file().object.bytes) return;
    file_.set_piece((end - 1) / kDigestPieceBytes, hash_.finish());
    hash_ = Sha256();
  }

  FileInMemory& file_;
  const std::uint64_t offset_;
  const std::uint64_t bytes_;
  const std::span<std::byte> buffer_;
  std::size_t waiting_ = 0;  // in the buffer, not yet written
  std::uint64_t filled_ = 0;
  Sha256 hash_;
};

struct Part {
  FileInMemory* file = nullptr;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

class Fetch {
 public:
  Fetch(ports::ObjectStore& store, const FetchLimits& limits, FetchState& state)
      : store_(store), limits_(limits), state_(state) {}

  Status run(std::vector<Part> parts) {
    parts_ = std::move(parts);
    std::vector<std::thread> others;
    const std::size_t count = std::min<std::size_t>(limits_.connections, parts_.size());
    for (std::size_t i = 1; i < count; ++i) others.emplace_back([this] { work(); });
    if (count > 0) work();
    for (std::thread& thread : others) thread.join();
    if (failed_) return *failed_;
    if (state_.stop) return stopped();
    return {};
  }

 private:
  void work() {
    std::vector<std::byte> buffer(kWriteBytes);
    for (std::size_t index; !state_.stop && (index = next_.fetch_add(1)) < parts_.size();) {
      Status done = fetch(parts_[index], buffer);
      if (done.ok()) continue;
      const std::lock_guard lock(mutex_);
      // Once it is stopped from outside, what fails is a consequence.
      if (!state_.stop) failed_ = std::move(done).error();
      state_.stop = true;
      return;
    }
  }

  Status fetch(const Part& part, std::span<std::byte> buffer) {
    const ports::ObjectInfo& object = part.file->file().object;
    PartWriter writer(*part.file, part.offset, part.bytes, buffer);
    const ports::PieceSink sink = [&](std::span<const std::byte> piece) {
      state_.bytes += piece.size();
      return writer.take(piece);
    };
    unsigned in_a_row = 0;
    for (unsigned failures = 0; writer.filled() < part.bytes;) {
      const std::uint64_t before = writer.filled();
      const ports::ObjectRange range{object.key, part.offset + before, part.bytes - before, object.etag, object.bytes};
      Status read = store_.read(range, sink, call_of(limits_, state_));
      if (read.ok()) break;
      if (!is_worth_another_try(read.error()) || state_.stop) return read;
      ++failures;
      in_a_row = writer.filled() > before ? 1 : in_a_row + 1;
      if (in_a_row >= limits_.failures_max || failures >= limits_.failures_in_all_max)
        return after_tries(read.error(), failures);
      if (!pause_before(in_a_row, limits_, state_)) return read;
    }
    part.file->advance(part.offset, part.bytes);
    return {};
  }

  ports::ObjectStore& store_;
  const FetchLimits& limits_;
  FetchState& state_;
  std::vector<Part> parts_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::optional<Error> failed_;  // guarded by mutex_: the first
};

Status make_parents(const UniqueFd& folder, const std::string& path) {
  for (std::size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    if (::mkdirat(folder.get(), parent.c_str(), 0755) != 0) {
      if (errno == EEXIST) continue;
      return sys::errno_error(parent);
    }
    // Whatever the process's umask is, environments pass here.
    if (::fchmodat(folder.get(), parent.c_str(), 0755, 0) != 0) return sys::errno_error(parent);
  }
  return {};
}

Result<std::unique_ptr<FileInMemory>> make_file(const UniqueFd& folder, const FileToFetch& file) {
  RETURN_IF_ERROR(make_parents(folder, file.path));
  auto fd = sys::openat(folder, file.path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (!fd.ok()) {
    if (fd.error().kind == ErrorKind::conflict)
      return invalid_argument("two objects would become the same file " + file.path);
    return std::move(fd).error();
  }
  auto made = std::make_unique<FileInMemory>(file, std::move(*fd));
  RETURN_IF_ERROR(made->prepare());
  return made;
}

}  // namespace

Result<std::string> fetch_files(ports::ObjectStore& store, const std::vector<FileToFetch>& files,
                                const UniqueFd& folder, const FetchLimits& limits, FetchState& state) {
  std::vector<std::unique_ptr<FileInMemory>> made;
  std::vector<Part> parts;
  for (const FileToFetch& file : files) {
    ASSIGN_OR_RETURN(made.emplace_back(), make_file(folder, file));
    for (std::uint64_t offset = 0; offset < file.object.bytes; offset += limits.part_bytes)
      parts.push_back({made.back().get(), offset, std::min(limits.part_bytes, file.object.bytes - offset)});
  }
  Fetch fetch(store, limits, state);
  RETURN_IF_ERROR(fetch.run(std::move(parts)));
  std::vector<FileInMemory*> by_path;
  by_path.reserve(made.size());
  for (const auto& file : made) by_path.push_back(file.get());
  std::sort(by_path.begin(), by_path.end(),
            [](const FileInMemory* a, const FileInMemory* b) { return a->file().path < b->file().path; });
  std::string lines = "thaw-model-1\n";
  for (FileInMemory* file : by_path) RETURN_IF_ERROR(file->finish(lines));
  return hex(sha256(lines));
}

Result<ports::ObjectInfo> head_with_retries(ports::ObjectStore& store, const std::string& key,
                                            const FetchLimits& limits, FetchState& state) {
  return with_retries(limits, state, [&](const ports::Call& call) { return store.head(key, call); });
}

Result<ports::ObjectPage> list_with_retries(ports::ObjectStore& store, const ports::ObjectList& list,
                                            const FetchLimits& limits, FetchState& state) {
  return with_retries(limits, state, [&](const ports::Call& call) { return store.list(list, call); });
}

}  // namespace thaw::store
