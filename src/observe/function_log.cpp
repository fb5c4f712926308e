#include "observe/function_log.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "base/sys.h"
#include "model/function.h"
#include "observe/log_file.h"

namespace thaw::observe {
namespace {

// Text is gathered this long before it is written: a busy function costs 50 writes a second, not one a line.
constexpr std::chrono::milliseconds kGather{20};
// Text waiting in all logs together.
constexpr std::size_t kWaitingBytesMax = 64 << 20;
// Logs that nobody holds are forgotten in memory when so many have gathered.
constexpr std::size_t kIdleLogsMax = 256;
constexpr std::string_view kCutMark = " [cut]\n";

// The file's name, or nothing when the function's name could leave the folder. Names are equal without regard to case.
std::optional<std::string> file_name(std::string_view function_name) {
  if (function_name.empty() || function_name.size() > model::kNameBytesMax) return std::nullopt;
  std::string name;
  for (const char c : function_name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || (std::isalnum(byte) == 0 && c != '-' && c != '_')) return std::nullopt;
    name += static_cast<char>(std::tolower(byte));
  }
  return name + ".log";
}

std::uint64_t line_count(std::string_view text) {
  return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n')) + (text.ends_with('\n') ? 0 : 1);
}

// Each line at most bytes_max long.
std::string cut_lines(std::string_view lines, std::size_t bytes_max) {
  std::string out;
  while (!lines.empty()) {
    const std::size_t end = lines.find('\n');
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    if (line.size() > bytes_max) {
      out.append(line.substr(0, bytes_max)).append(kCutMark);
    } else {
      out.append(line).append("\n");
    }
  }
  return out;
}

class DiscardingLog final : public FunctionLog {
 public:
  void append(std::string_view) override {}
};

class DiskLog;

// What the logs share with their writer. Outlives neither's use: each log holds it.
struct Writer {
  std::mutex mutex;
  std::condition_variable wake;
  // Guarded by mutex.
  std::deque<std::shared_ptr<DiskLog>> waiting;
  bool urgent = false;
  bool stopping = false;

  std::atomic<std::size_t> waiting_bytes{0};
};

// Lock order: io_mutex_, mutex_, Writer::mutex. append() takes only the last two, under which no I/O happens.
class DiskLog final : public FunctionLog, public std::enable_shared_from_this<DiskLog> {
 public:
  DiskLog(const UniqueFd& folder, std::string name, const LogLimits& limits, std::shared_ptr<Writer> writer)
      : limits_(limits), writer_(std::move(writer)), file_(folder, std::move(name), limits.file_bytes_max) {}

  void append(std::string_view lines) override {
    if (lines.empty()) return;
    if (lines.size() <= limits_.line_bytes_max) {
      add(lines);
    } else {
      add(cut_lines(lines, limits_.line_bytes_max));
    }
  }

  // Writes what waits. Returns the change of the bytes on disk.
  std::int64_t write() {
    const std::lock_guard io(io_mutex_);
    std::string text;
    {
      const std::lock_guard lock(mutex_);
      text.swap(pending_);
      writer_->waiting_bytes -= text.size();
      queued_ = false;
      if (dropped_lines_ > 0) {
        text +=
            "[thaw] " + std::to_string(dropped_lines_) + " lines are missing here: they could not be written in time\n";
        dropped_lines_ = 0;
      }
    }
    if (text.empty()) return 0;
    return write_locked(text);
  }

  Result<FunctionLogs::Tail> tail(std::size_t bytes_max) {
    const std::lock_guard io(io_mutex_);
    RETURN_IF_ERROR(look_locked());
    const std::string waiting = copy_of_pending();
    const std::size_t from_disk = bytes_max > waiting.size() ? bytes_max - waiting.size() : 0;
    LogFile::Bytes bytes;
    if (from_disk > 0) {
      ASSIGN_OR_RETURN(bytes, file_.read_last(from_disk + 1));
    }
    // A line that a dying daemon left without its end.
    if (!bytes.text.empty() && bytes.text.back() != '\n') bytes.text += '\n';
    // One byte more than asked: it tells whether the first line is whole.
    std::string text = std::move(bytes.text) + waiting;
    if (text.size() > bytes_max) {
      const std::size_t first_end = text.find('\n', text.size() - bytes_max - 1);
      text.erase(0, first_end == std::string::npos ? text.size() : first_end + 1);
    }
    return FunctionLogs::Tail{std::move(text), *written_end_ + waiting.size()};
  }

  Result<FunctionLogs::Tail> since(std::uint64_t position, std::size_t bytes_max) {
    const std::lock_guard io(io_mutex_);
    RETURN_IF_ERROR(look_locked());
    const std::string waiting = copy_of_pending();
    const std::uint64_t end = *written_end_ + waiting.size();
    // The log was begun anew since: from its start.
    if (position > end) position = 0;
    LogFile::Bytes bytes{.text = {}, .begin = position};
    if (position < *written_end_) {
      ASSIGN_OR_RETURN(bytes, file_.read_from(position, bytes_max));
      if (bytes.text.empty()) bytes.begin = *written_end_;
    }
    const std::uint64_t reached = bytes.begin + bytes.text.size();
    if (reached >= *written_end_) bytes.text.append(waiting, reached - *written_end_, bytes_max - bytes.text.size());
    const std::size_t last_end = bytes.text.rfind('\n');
    const bool more_follows = bytes.begin + bytes.text.size() < end;
    if (last_end != std::string::npos) {
      bytes.text.resize(last_end + 1);
    } else if (!more_follows) {
      bytes.text.clear();
    }
    const std::uint64_t next = bytes.begin + bytes.text.size();
    return FunctionLogs::Tail{std::move(bytes.text), next};
  }

  // Returns the change of the bytes on disk.
  std::int64_t remove() {
    const std::lock_guard io(io_mutex_);
    (void)look_locked();
    {
      const std::lock_guard lock(mutex_);
      writer_->waiting_bytes -= pending_.size();
      pending_.clear();
      dropped_lines_ = 0;
    }
    return -file_.remove();
  }

  // Removes one of its files on behalf of the bound of all logs.
  bool evict(const UniqueFd& folder, const std::string& name) {
    const std::lock_guard io(io_mutex_);
    (void)look_locked();
    file_.forget();
    return ::unlinkat(folder.get(), name.c_str(), 0) == 0;
  }

  bool is_idle() {
    const std::lock_guard lock(mutex_);
    return pending_.empty() && dropped_lines_ == 0 && !queued_;
  }

 private:
  void add(std::string_view lines) {
    const bool open_end = !lines.ends_with('\n');
    const std::size_t size = lines.size() + (open_end ? 1 : 0);
    bool to_queue = false;
    bool urgent = false;
    {
      const std::lock_guard lock(mutex_);
      if (pending_.size() + size > limits_.buffer_bytes_max ||
          writer_->waiting_bytes.load(std::memory_order_relaxed) + size > kWaitingBytesMax) {
        // The writer is told once, not for each line of a flood.
        urgent = dropped_lines_ == 0;
        dropped_lines_ += line_count(lines);
      } else {
        pending_.append(lines);
        if (open_end) pending_ += '\n';
        writer_->waiting_bytes.fetch_add(size, std::memory_order_relaxed);
        const std::size_t half = limits_.buffer_bytes_max / 2;
        urgent = pending_.size() > half && pending_.size() - size <= half;
      }
      to_queue = !std::exchange(queued_, true);
    }
    if (!to_queue && !urgent) return;
    {
      const std::lock_guard lock(writer_->mutex);
      // Nobody would take it out again.
      if (writer_->stopping) return;
      if (to_queue) writer_->waiting.push_back(shared_from_this());
      if (urgent) writer_->urgent = true;
    }
    writer_->wake.notify_one();
  }

  Status look_locked() {
    if (written_end_) return {};
    ASSIGN_OR_RETURN(written_end_, file_.end());
    return {};
  }

  std::string copy_of_pending() {
    const std::lock_guard lock(mutex_);
    return pending_;
  }

  std::int64_t write_locked(const std::string& text) {
    Status looked = look_locked();
    Result<std::int64_t> grown = looked ? file_.append(*written_end_, text) : Result<std::int64_t>(looked.error());
    if (written_end_) *written_end_ += text.size();
    if (grown) return *grown;
    {
      const std::lock_guard lock(mutex_);
      dropped_lines_ += line_count(text);
    }
    if (!std::exchange(failing_, true)) log::error("function_log_not_written error=\"{}\"", grown.error().message);
    return 0;
  }

  const LogLimits limits_;
  const std::shared_ptr<Writer> writer_;

  // Held during I/O on this log's files, by the writer and by readers.
  std::mutex io_mutex_;
  LogFile file_;
  // Stream position where pending_ begins; unknown until the disk was looked at.
  std::optional<std::uint64_t> written_end_;
  bool failing_ = false;  // reported once

  std::mutex mutex_;
  // Guarded by mutex_.
  std::string pending_;
  std::uint64_t dropped_lines_ = 0;
  bool queued_ = false;  // in Writer::waiting
};

class DiskLogs final : public FunctionLogs {
 public:
  explicit DiskLogs(LogLimits limits) : limits_(limits) {}

  ~DiskLogs() override {
    {
      const std::lock_guard lock(writer_->mutex);
      writer_->stopping = true;
    }
    writer_->wake.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  Status open(const std::string& folder) {
    RETURN_IF_ERROR(sys::make_directories(folder, 0750));
    ASSIGN_OR_RETURN(folder_, sys::open(folder, O_RDONLY | O_DIRECTORY));
    ASSIGN_OR_RETURN(const std::vector<File> files, scan());
    for (const File& file : files) bytes_on_disk_ += file.bytes;
    thread_ = std::thread([this] { run(); });
    return {};
  }

  std::shared_ptr<FunctionLog> of(const std::string& function_name) override {
    if (auto log = find(function_name)) return log;
    return std::make_shared<DiscardingLog>();
  }

  Result<Tail> tail(const std::string& function_name, std::size_t bytes_max) override {
    if (auto log = find(function_name)) return log->tail(bytes_max);
    return no_such_name();
  }

  Result<Tail> since(const std::string& function_name, std::uint64_t position, std::size_t bytes_max) override {
    if (auto log = find(function_name)) return log->since(position, bytes_max);
    return no_such_name();
  }

  Status remove(const std::string& function_name) override {
    auto log = find(function_name);
    if (!log) return no_such_name();
    bytes_on_disk_ += log->remove();
    return {};
  }

  void flush() override {
    std::vector<std::shared_ptr<DiskLog>> logs;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [name, log] : logs_) logs.push_back(log);
    }
    // A log that the writer is just writing is waited for here.
    for (const auto& log : logs) bytes_on_disk_ += log->write();
    bound_disk();
  }

 private:
  struct File {
    std::string name;
    std::int64_t bytes = 0;
    timespec written{};
  };

  static Error no_such_name() { return invalid_argument("this is no possible name of a function"); }

  std::shared_ptr<DiskLog> find(const std::string& function_name) {
    const auto name = file_name(function_name);
    if (!name) return nullptr;
    const std::lock_guard lock(mutex_);
    std::shared_ptr<DiskLog>& log = logs_[*name];
    if (log == nullptr) log = std::make_shared<DiskLog>(folder_, *name, limits_, writer_);
    return log;
  }

  void run() {
    for (;;) {
      std::deque<std::shared_ptr<DiskLog>> batch;
      bool stopping = false;
      {
        std::unique_lock lock(writer_->mutex);
        writer_->wake.wait(lock, [&] { return !writer_->waiting.empty() || writer_->stopping; });
        writer_->wake.wait_for(lock, kGather, [&] { return writer_->urgent || writer_->stopping; });
        batch.swap(writer_->waiting);
        writer_->urgent = false;
        stopping = writer_->stopping;
      }
      for (const auto& log : batch) bytes_on_disk_ += log->write();
      if (stopping && batch.empty()) return;
      batch.clear();
      bound_disk();
      forget_idle();
    }
  }

  // A log that nobody holds costs no memory; the next use reads its position from the disk.
  void forget_idle() {
    const std::lock_guard lock(mutex_);
    if (logs_.size() < forget_at_) return;
    std::erase_if(logs_, [](const auto& entry) { return entry.second.use_count() == 1 && entry.second->is_idle(); });
    forget_at_ = std::max(kIdleLogsMax, 2 * logs_.size());
  }

  Result<std::vector<File>> scan() {
    ASSIGN_OR_RETURN(UniqueFd fd, sys::openat(folder_, ".", O_RDONLY | O_DIRECTORY));
    DIR* dir = ::fdopendir(fd.get());
    if (dir == nullptr) return sys::errno_error("the folder of logs");
    (void)std::move(fd).release();
    std::vector<File> files;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string_view name = entry->d_name;
      struct stat info {};
      if (!name.ends_with(".log") && !name.ends_with(".log.1")) continue;
      if (::fstatat(folder_.get(), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) continue;
      files.push_back({std::string(name), info.st_size, info.st_mtim});
    }
    ::closedir(dir);
    return files;
  }

  // Removes the files written least recently until a tenth of the bound is free, so that this is rare.
  void bound_disk() {
    const auto bound = static_cast<std::int64_t>(limits_.total_bytes_max);
    if (bytes_on_disk_ <= bound) return;
    const std::lock_guard lock(bound_mutex_);
    auto files = scan();
    if (!files) return log::error("function_logs_not_bounded error=\"{}\"", files.error().message);
    std::sort(files->begin(), files->end(), [](const File& a, const File& b) {
      if (a.written.tv_sec != b.written.tv_sec) return a.written.tv_sec < b.written.tv_sec;
      if (a.written.tv_nsec != b.written.tv_nsec) return a.written.tv_nsec < b.written.tv_nsec;
      return a.name > b.name;  // NAME.log.1 before NAME.log
    });
    std::int64_t bytes = 0;
    for (const File& file : *files) bytes += file.bytes;
    for (const File& file : *files) {
      if (bytes <= bound - bound / 10) break;
      const auto log = find(file.name.substr(0, file.name.rfind(".log")));
      const bool removed = log ? log->evict(folder_, file.name) : ::unlinkat(folder_.get(), file.name.c_str(), 0) == 0;
      if (removed) bytes -= file.bytes;
    }
    bytes_on_disk_ = bytes;
  }

  const LogLimits limits_;
  UniqueFd folder_;
  const std::shared_ptr<Writer> writer_ = std::make_shared<Writer>();
  std::atomic<std::int64_t> bytes_on_disk_{0};
  std::mutex bound_mutex_;  // before all others

  std::mutex mutex_;
  // Guarded by mutex_; by file name.
  std::unordered_map<std::string, std::shared_ptr<DiskLog>> logs_;
  std::size_t forget_at_ = kIdleLogsMax;

  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<FunctionLogs>> FunctionLogs::open(const std::string& folder, LogLimits limits) {
  auto logs = std::make_unique<DiskLogs>(limits);
  RETURN_IF_ERROR(logs->open(folder));
  return std::unique_ptr<FunctionLogs>(std::move(logs));
}

}  // namespace thaw::observe
