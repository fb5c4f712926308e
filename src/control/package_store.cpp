#include "control/package_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "base/digest/sha256.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/uuid.h"

namespace thaw::control {
namespace {

namespace fs = std::filesystem;

using Clock = std::chrono::steady_clock;

// Who uses which package. Shared with the holds, which may outlive the store.
struct Holds {
  std::mutex mutex;
  // Guarded by mutex.
  std::map<std::string, std::size_t> counts;
  std::function<void(const std::string&)> released;  // empty once the store is gone
};

class Hold {
 public:
  Hold(std::shared_ptr<Holds> holds, std::string sha) : holds_(std::move(holds)), sha_(std::move(sha)) {}
  ~Hold() {
    const std::lock_guard lock(holds_->mutex);
    const auto found = holds_->counts.find(sha_);
    if (--found->second > 0) return;
    holds_->counts.erase(found);
    if (holds_->released) holds_->released(sha_);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  const std::shared_ptr<Holds> holds_;
  const std::string sha_;
};

const std::string kZipSuffix = ".zip";

bool is_digest(std::string_view name) {
  return name.size() == 64 &&
         std::all_of(name.begin(), name.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Result<std::vector<std::string>> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (std::filesystem::directory_iterator at(folder, code), end; !code && at != end; at.increment(code)) {
    names.push_back(at->path().filename().string());
  }
  if (code) return sys::errno_error(folder, code.value());
  return names;
}

// Links what from holds into to, over what is there. Both are packages, so that no name leads out of them.
Status lay_over(const std::string& from, const std::string& to) {
  std::error_code code;
  for (fs::recursive_directory_iterator at(from + "/", code), end; !code && at != end; at.increment(code)) {
    const fs::path target = fs::path(to) / at->path().lexically_relative(from);
    std::error_code ignored;  // what is wrong, the next call below says, too
    const fs::file_status there = fs::symlink_status(target, ignored);
    if (fs::is_directory(at->symlink_status(ignored))) {
      if (fs::is_directory(there)) continue;
      fs::remove(target, ignored);
      if (::mkdir(target.c_str(), 0755) != 0 || ::chmod(target.c_str(), 0755) != 0)
        return sys::errno_error("laying layers over one another");
      continue;
    }
    if (fs::exists(there)) fs::remove_all(target, ignored);
    if (::linkat(AT_FDCWD, at->path().c_str(), AT_FDCWD, target.c_str(), 0) != 0)
      return sys::errno_error("laying layers over one another");
  }
  if (code) return sys::errno_error("laying layers over one another", code.value());
  return {};
}

// Lock order: commit_lock, Holds::mutex, mutex_.
class DiskPackageStore final : public PackageStore {
 public:
  DiskPackageStore(const std::string& data_folder, Options options)
      : options_(std::move(options)),
        data_folder_(data_folder),
        uploads_(data_folder + "/uploads"),
        staging_(data_folder + "/staging"),
        packages_(data_folder + "/packages") {}

  ~DiskPackageStore() override {
    {
      const std::lock_guard lock(holds_->mutex);
      holds_->released = nullptr;
    }
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (janitor_.joinable()) janitor_.join();
  }

  Status open() {
    for (const std::string& folder : {uploads_, staging_}) {
      RETURN_IF_ERROR(sys::remove_tree(folder));
      RETURN_IF_ERROR(sys::make_directories(folder, 0700));
    }
    RETURN_IF_ERROR(sys::make_directories(packages_, 0755));
    ASSIGN_OR_RETURN(packages_fd_, sys::open(packages_, O_RDONLY | O_DIRECTORY));
    // The folder itself must be there after a power cut when its first package is.
    ASSIGN_OR_RETURN(const UniqueFd data, sys::open(data_folder_, O_RDONLY | O_DIRECTORY));
    if (::fsync(data.get()) != 0) return sys::errno_error(data_folder_);
    // Else a busy function's package would be looked at whenever its last environment goes.
    holds_->released = [this](const std::string& sha) {
      if (!options_.is_referenced(sha)) collect(sha);
    };
    janitor_ = std::thread([this] { clean(); });
    return {};
  }

  std::string new_upload_path() override { return uploads_ + "/" + random_uuid() + ".zip"; }

  Result<Staged> unpack(const std::string& upload_path, const Unpack& how) override {
    if (std::filesystem::path(upload_path).parent_path() != uploads_) {
      return invalid_argument("the package is no upload of this catalog");
    }
    const auto zip = sys::open(upload_path, O_RDONLY | O_NOFOLLOW);
    ASSIGN_OR_RETURN(Staged staged, new_staged());
    // The descriptor keeps the bytes; the name has no further use, whatever comes.
    if (how.keep_zip && zip.ok()) {
      staged.keep_zip(staged.path() + ".zip");
      if (::rename(upload_path.c_str(), staged.zip_path().c_str()) != 0) return sys::errno_error("the upload");
    } else {
      ::unlink(upload_path.c_str());
    }
    if (!zip) return invalid_argument("the upload is not there");
    IntakeLimits limits = options_.intake;
    if (how.unpacked_bytes_max > 0)
      limits.unpacked_bytes_max = std::min(limits.unpacked_bytes_max, how.unpacked_bytes_max);
    ASSIGN_OR_RETURN(staged.content, unpack_zip(*zip, staged.folder, limits));
    return staged;
  }

  Result<Staged> merge(const std::vector<UniqueFd>& folders, const std::string& name) override {
    ASSIGN_OR_RETURN(Staged staged, new_staged());
    for (const UniqueFd& folder : folders) {
      RETURN_IF_ERROR(lay_over("/proc/self/fd/" + std::to_string(folder.get()), staged.path()));
    }
    staged.content.sha256 = hex(sha256("thaw-layers-1\n" + name));
    return staged;
  }

  Status sync(const Staged& staged) override {
    if (is_placed(staged.content.sha256) && staged.zip_path().empty()) return {};
    // One call for all files: a sync for each would cost a journal commit for each. It reports write-back errors too
    // (syncfs(2), since Linux 5.8).
    if (::syncfs(staged.folder.get()) != 0) return disk_error("writing the package to the disk");
    return {};
  }

  Status place(const Staged& staged) override {
    const std::string& sha = staged.content.sha256;
    const bool placed = is_placed(sha);
    if (placed && staged.zip_path().empty()) return {};
    const std::string zip = sha + kZipSuffix;
    if (!staged.zip_path().empty() &&
        ::renameat(AT_FDCWD, staged.zip_path().c_str(), packages_fd_.get(), zip.c_str()) != 0) {
      return disk_error("placing the package");
    }
    if (!placed && ::renameat(AT_FDCWD, staged.path().c_str(), packages_fd_.get(), sha.c_str()) != 0) {
      return disk_error("placing the package");
    }
    if (::fsync(packages_fd_.get()) != 0) return disk_error("placing the package");
    return {};
  }

  Result<Catalog::PackageHold> hold(const std::string& sha) override {
    if (!is_digest(sha)) return invalid_argument("\"" + sha.substr(0, 100) + "\" is no package's digest");
    const std::lock_guard lock(holds_->mutex);
    UniqueFd folder(::openat(packages_fd_.get(), sha.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder.valid()) {
      if (errno == ENOENT) return Error{ErrorKind::not_found, "there is no package " + sha};
      return sys::errno_error("package " + sha);
    }
    // Counted before the guard exists: its destructor counts down.
    ++holds_->counts[sha];
    return Catalog::PackageHold{std::move(folder), std::make_shared<const Hold>(holds_, sha)};
  }

  Result<UniqueFd> open_zip(const std::string& sha) override {
    UniqueFd zip(::openat(packages_fd_.get(), (sha + kZipSuffix).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!is_digest(sha) || (!zip.valid() && errno == ENOENT))
      return Error{ErrorKind::not_found, "the package's zip was not kept"};
    if (!zip.valid()) return sys::errno_error("the package's zip");
    return zip;
  }

  void collect(const std::string& sha) override {
    {
      const std::lock_guard lock(mutex_);
      candidates_.emplace_back(Clock::now() + options_.removal_delay, sha);
    }
    wake_.notify_all();
  }

  Status remove_unreferenced() override {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, names_in(packages_));
    for (const std::string& name : names) {
      // What else lies here is not ours to remove.
      std::string_view sha = name;
      if (sha.ends_with(kZipSuffix)) sha.remove_suffix(kZipSuffix.size());
      if (is_digest(sha)) remove_if_unused(std::string(sha));
    }
    return {};
  }

 private:
  Result<Staged> new_staged() const {
    Staged staged(staging_ + "/" + random_uuid());
    if (::mkdir(staged.path().c_str(), 0755) != 0 || ::chmod(staged.path().c_str(), 0755) != 0) {
      return sys::errno_error("the staging folder");
    }
    ASSIGN_OR_RETURN(staged.folder, sys::open(staged.path(), O_RDONLY | O_DIRECTORY));
    return staged;
  }

  static Error disk_error(const std::string& what) {
    if (errno == ENOSPC || errno == EDQUOT)
      return {ErrorKind::unavailable, "the disk is full: " + what + " failed", "Disk.Full"};
    return sys::errno_error(what);
  }

  bool is_placed(const std::string& sha) const {
    struct stat info {};
    return ::fstatat(packages_fd_.get(), sha.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
  }

  // Out of packages/ in one step, under the locks of those who could begin to use it; the removal itself follows
  // without any lock.
  void remove_if_unused(const std::string& sha) {
    const std::string trash = staging_ + "/" + random_uuid();
    {
      const std::lock_guard commit(*options_.commit_lock);
      const std::lock_guard lock(holds_->mutex);
      if (options_.is_referenced(sha) || holds_->counts.contains(sha)) return;
      ::renameat(packages_fd_.get(), (sha + kZipSuffix).c_str(), AT_FDCWD, (trash + kZipSuffix).c_str());
      if (::renameat(packages_fd_.get(), sha.c_str(), AT_FDCWD, trash.c_str()) != 0) {
        if (errno != ENOENT) log::warn("package_not_removed sha256={} errno={}", sha, errno);
      }
    }
    ::unlink((trash + kZipSuffix).c_str());
    if (auto status = sys::remove_tree(trash); !status) {
      log::warn("package_not_removed sha256={} error=\"{}\"", sha, status.error().message);
    }
  }

  void clean() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      if (candidates_.empty()) {
        wake_.wait(lock);
      } else if (Clock::now() < candidates_.front().first) {
        wake_.wait_until(lock, candidates_.front().first);
      } else {
        const std::string sha = std::move(candidates_.front().second);
        candidates_.pop_front();
        lock.unlock();
        remove_if_unused(sha);
        lock.lock();
      }
    }
  }

  const Options options_;
  const std::string data_folder_;
  const std::string uploads_;
  const std::string staging_;
  const std::string packages_;
  UniqueFd packages_fd_;
  const std::shared_ptr<Holds> holds_ = std::make_shared<Holds>();

  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_. One entry for each record replaced or hold dropped within the delay.
  std::deque<std::pair<Clock::time_point, std::string>> candidates_;
  bool stopping_ = false;
  std::thread janitor_;
};

}  // namespace

PackageStore::Staged::~Staged() {
  if (path_.empty()) return;
  if (!zip_path_.empty()) ::unlink(zip_path_.c_str());
  folder.reset();
  // After a rename to its place there is nothing here any more.
  if (auto status = sys::remove_tree(path_); !status) {
    log::warn("staging_not_removed error=\"{}\"", status.error().message);
  }
}

Result<std::unique_ptr<PackageStore>> PackageStore::open(const std::string& data_folder, Options options) {
  auto store = std::make_unique<DiskPackageStore>(data_folder, std::move(options));
  RETURN_IF_ERROR(store->open());
  return std::unique_ptr<PackageStore>(std::move(store));
}

Error package_fault(Error error) {
  if (error.kind == ErrorKind::invalid_argument || error.kind == ErrorKind::too_large) error.code = kBadPackage;
  return error;
}

}  // namespace thaw::control
