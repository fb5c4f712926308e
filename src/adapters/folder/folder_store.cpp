#include "adapters/folder/folder_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/sys.h"
#include "base/uuid.h"

namespace thaw::adapters {
namespace {

constexpr std::size_t kDepthMax = 32;
constexpr std::size_t kListedMax = 100000;
// What put() writes beside the object; list() passes it over.
constexpr const char* kUploadPrefix = ".thaw-upload-";
constexpr std::size_t kPieceBytes = 1 << 20;

Status check_key(const std::string& key) {
  if (key.empty() || key.size() > ports::kObjectKeyBytesMax)
    return invalid_argument("the object's key must have 1 to " + std::to_string(ports::kObjectKeyBytesMax) + " bytes");
  if (key.find('\0') != std::string::npos) return invalid_argument("the object's key holds a NUL character");
  for (std::size_t at = 0; at <= key.size();) {
    const std::size_t end = std::min(key.find('/', at), key.size());
    const std::string part = key.substr(at, end - at);
    if (part.empty() || part == "." || part == ".." || part.size() > NAME_MAX)
      return invalid_argument("'" + key + "' is no path below the folder: a part is empty, '.', '..' or too long");
    at = end + 1;
  }
  return {};
}

// Never leaves the folder, whatever links say.
Result<UniqueFd> open_below(const UniqueFd& folder, const std::string& key, int flags, mode_t mode = 0) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int tries = 0;; ++tries) {
    const long fd = ::syscall(SYS_openat2, folder.get(), key.c_str(), &how, sizeof how);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    // EAGAIN: something was renamed while ".." was looked at; openat2(2).
    if ((errno == EINTR || errno == EAGAIN) && tries < 100) continue;
    if (errno == EXDEV || errno == ELOOP) return Error{ErrorKind::forbidden, "'" + key + "' leads out of the folder"};
    if (errno == ENOTDIR) return Error{ErrorKind::not_found, "'" + key + "' is not there"};
    if (errno == EACCES || errno == EPERM)
      return Error{ErrorKind::forbidden, "'" + key + "' may not be read by this user"};
    if (errno == ENOENT) return Error{ErrorKind::not_found, "'" + key + "' is not there"};
    return sys::errno_error("'" + key + "'");
  }
}

std::string etag_of(const struct stat& info) {
  return "\"" + std::to_string(info.st_size) + "-" + std::to_string(info.st_mtim.tv_sec) + "." +
         std::to_string(info.st_mtim.tv_nsec) + "-" + std::to_string(info.st_ino) + "\"";
}

struct Opened {
  UniqueFd fd;
  ports::ObjectInfo info;
};

class FolderStore : public ports::ObjectStore {
 public:
  explicit FolderStore(UniqueFd folder) : folder_(std::move(folder)) {}

  Result<ports::ObjectInfo> head(const std::string& key, const ports::Call&) override {
    ASSIGN_OR_RETURN(Opened opened, open_object(key));
    return std::move(opened.info);
  }

  Status read(const ports::ObjectRange& range, const ports::PieceSink& sink, const ports::Call& call) override {
    ASSIGN_OR_RETURN(const Opened opened, open_object(range.key));
    if (!range.if_match.empty() && range.if_match != opened.info.etag)
      return Error{ErrorKind::conflict, "'" + range.key + "' has changed meanwhile"};
    std::vector<std::byte> piece(std::min<std::uint64_t>(range.bytes, kPieceBytes));
    for (std::uint64_t done = 0; done < range.bytes;) {
      if (call.is_cancelled()) return Error{ErrorKind::unavailable, "cancelled", "Fetch.Cancelled"};
      if (std::chrono::steady_clock::now() >= call.deadline)
        return Error{ErrorKind::timeout, "the time for this request is over"};
      const std::size_t count = std::min<std::uint64_t>(range.bytes - done, piece.size());
      const ssize_t got = ::pread(opened.fd.get(), piece.data(), count, static_cast<off_t>(range.offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return sys::errno_error("'" + range.key + "'");
      if (got == 0)
        return Error{ErrorKind::conflict, "'" + range.key + "' is shorter than the range that was asked for"};
      RETURN_IF_ERROR(sink(std::span(piece).first(static_cast<std::size_t>(got))));
      done += static_cast<std::uint64_t>(got);
    }
    return {};
  }

  Result<ports::ObjectPage> list(const ports::ObjectList& list, const ports::Call& call) override {
    // The folder of the prefix; within it names must begin with the rest.
    const std::size_t slash = list.prefix.rfind('/');
    const std::string below = slash == std::string::npos ? "" : list.prefix.substr(0, slash);
    if (!below.empty()) RETURN_IF_ERROR(check_key(below));
    std::vector<std::string> keys;
    RETURN_IF_ERROR(walk(below, list.prefix, call, 0, keys));
    std::sort(keys.begin(), keys.end());
    auto at = std::upper_bound(keys.begin(), keys.end(), list.after);
    ports::ObjectPage page;
    for (; at != keys.end() && page.objects.size() < list.count_max; ++at) {
      auto opened = open_object(*at);
      if (!opened.ok() && opened.error().kind == ErrorKind::not_found) continue;
      if (!opened.ok()) return std::move(opened).error();
      page.objects.push_back(std::move(opened->info));
    }
    if (at != keys.end() && !page.objects.empty()) page.next = page.objects.back().key;
    return page;
  }

  Result<ports::ObjectInfo> put(const ports::ObjectUpload& upload, const UniqueFd& file,
                                const ports::Call& call) override {
    RETURN_IF_ERROR(check_key(upload.key));
    const std::size_t slash = upload.key.rfind('/');
    const std::string below = slash == std::string::npos ? "." : upload.key.substr(0, slash);
    RETURN_IF_ERROR(make_folders(below));
    ASSIGN_OR_RETURN(const UniqueFd parent, open_below(folder_, below, O_RDONLY | O_DIRECTORY));
    const std::string beside = kUploadPrefix + random_uuid();
    const std::string name = slash == std::string::npos ? upload.key : upload.key.substr(slash + 1);
    Status written = write_file(upload, file, parent, beside, call);
    if (written.ok() && ::renameat(parent.get(), beside.c_str(), parent.get(), name.c_str()) != 0)
      written = errno == EISDIR || errno == ENOTEMPTY
                    ? Status(Error{ErrorKind::conflict, "'" + upload.key + "' is a folder"})
                    : Status(sys::errno_error("'" + upload.key + "'"));
    if (!written.ok()) {
      ::unlinkat(parent.get(), beside.c_str(), 0);
      return std::move(written).error();
    }
    if (::fsync(parent.get()) != 0) return sys::errno_error("'" + below + "'");
    return head(upload.key, call);
  }

  Status remove(const std::string& key, const ports::Call&) override {
    ASSIGN_OR_RETURN([[maybe_unused]] const Opened there, open_object(key));
    const std::size_t slash = key.rfind('/');
    const std::string below = slash == std::string::npos ? "." : key.substr(0, slash);
    ASSIGN_OR_RETURN(const UniqueFd parent, open_below(folder_, below, O_RDONLY | O_DIRECTORY));
    if (::unlinkat(parent.get(), slash == std::string::npos ? key.c_str() : key.c_str() + slash + 1, 0) != 0)
      return sys::errno_error("'" + key + "'");
    return {};
  }

 private:
  Result<Opened> open_object(const std::string& key) {
    RETURN_IF_ERROR(check_key(key));
    // Not blocking: a pipe that nobody writes to is refused below and not waited for.
    ASSIGN_OR_RETURN(UniqueFd fd, open_below(folder_, key, O_RDONLY | O_NONBLOCK));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return sys::errno_error("'" + key + "'");
    if (!S_ISREG(info.st_mode)) return Error{ErrorKind::not_found, "'" + key + "' is no file"};
    return Opened{std::move(fd), {key, static_cast<std::uint64_t>(info.st_size), etag_of(info), ""}};
  }

  // Every file below `below` whose key begins with the prefix. Links to folders are passed over: they could lead in
  // circles.
  Status walk(const std::string& below, const std::string& prefix, const ports::Call& call, std::size_t depth,
              std::vector<std::string>& keys) {
    if (depth > kDepthMax)
      return Error{ErrorKind::too_large, "folders are nested more than " + std::to_string(kDepthMax) + " deep"};
    if (call.is_cancelled()) return Error{ErrorKind::unavailable, "cancelled", "Fetch.Cancelled"};
    auto opened = open_below(folder_, below.empty() ? "." : below, O_RDONLY | O_DIRECTORY);
    if (!opened.ok() && opened.error().kind == ErrorKind::not_found) return {};
    if (!opened.ok()) return std::move(opened).error();
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(::fdopendir(std::move(*opened).release()), &::closedir);
    if (folder == nullptr) return sys::errno_error("'" + below + "'");
    while (const dirent* entry = ::readdir(folder.get())) {
      const std::string name = entry->d_name;
      if (name == "." || name == ".." || name.starts_with(kUploadPrefix)) continue;
      const std::string key = below.empty() ? name : below + "/" + name;
      struct stat info {};
      if (::fstatat(::dirfd(folder.get()), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (S_ISDIR(info.st_mode)) {
        const bool within = key.starts_with(prefix) || prefix.starts_with(key + "/");
        if (within) RETURN_IF_ERROR(walk(key, prefix, call, depth + 1, keys));
        continue;
      }
      if (!key.starts_with(prefix) || !(S_ISREG(info.st_mode) || S_ISLNK(info.st_mode))) continue;
      if (S_ISLNK(info.st_mode) && !open_object(key).ok()) continue;
      if (keys.size() >= kListedMax)
        return Error{ErrorKind::too_large, "the folder has more than " + std::to_string(kListedMax) + " files"};
      keys.push_back(key);
    }
    return {};
  }

  Status make_folders(const std::string& below) {
    if (below == ".") return {};
    for (std::size_t at = 0; at <= below.size();) {
      const std::size_t end = std::min(below.find('/', at), below.size());
      const std::string part = below.substr(0, end);
      const std::size_t slash = part.rfind('/');
      ASSIGN_OR_RETURN(
          const UniqueFd parent,
          open_below(folder_, slash == std::string::npos ? "." : part.substr(0, slash), O_RDONLY | O_DIRECTORY));
      const std::string name = slash == std::string::npos ? part : part.substr(slash + 1);
      if (::mkdirat(parent.get(), name.c_str(), 0755) != 0 && errno != EEXIST)
        return sys::errno_error("'" + part + "'");
      at = end + 1;
    }
    return {};
  }

  static Status write_file(const ports::ObjectUpload& upload, const UniqueFd& file, const UniqueFd& parent,
                           const std::string& name, const ports::Call& call) {
    ASSIGN_OR_RETURN(const UniqueFd out, sys::openat(parent, name, O_WRONLY | O_CREAT | O_EXCL, 0644));
    std::string piece;
    for (std::uint64_t done = 0; done < upload.bytes;) {
      if (call.is_cancelled()) return Error{ErrorKind::unavailable, "cancelled", "Fetch.Cancelled"};
      piece.resize(std::min<std::uint64_t>(upload.bytes - done, kPieceBytes));
      const ssize_t got = ::pread(file.get(), piece.data(), piece.size(), static_cast<off_t>(done));
      if (got < 0) return sys::errno_error("the file that is stored");
      if (got == 0) return Error{ErrorKind::conflict, "the file that is stored has become shorter meanwhile"};
      RETURN_IF_ERROR(sys::write_all(out, std::string_view(piece).substr(0, static_cast<std::size_t>(got))));
      done += static_cast<std::uint64_t>(got);
      if (upload.on_progress) upload.on_progress(done);
    }
    if (::fsync(out.get()) != 0) return sys::errno_error("'" + upload.key + "'");
    return {};
  }

  const UniqueFd folder_;
};

// The same with keys that begin with the folder's own path.
class PrefixedStore : public ports::ObjectStore {
 public:
  PrefixedStore(std::shared_ptr<ports::ObjectStore> store, std::string prefix)
      : store_(std::move(store)), prefix_(std::move(prefix)) {}

  Result<ports::ObjectInfo> head(const std::string& key, const ports::Call& call) override {
    ASSIGN_OR_RETURN(const std::string below, relative(key));
    ASSIGN_OR_RETURN(ports::ObjectInfo info, store_->head(below, call));
    info.key = key;
    return info;
  }
  Status read(const ports::ObjectRange& range, const ports::PieceSink& sink, const ports::Call& call) override {
    ports::ObjectRange below = range;
    ASSIGN_OR_RETURN(below.key, relative(range.key));
    return store_->read(below, sink, call);
  }
  Result<ports::ObjectPage> list(const ports::ObjectList& list, const ports::Call& call) override {
    ports::ObjectList below = list;
    ASSIGN_OR_RETURN(below.prefix, relative(list.prefix));
    if (!list.after.empty()) {
      ASSIGN_OR_RETURN(below.after, relative(list.after));
    }
    ASSIGN_OR_RETURN(ports::ObjectPage page, store_->list(below, call));
    for (ports::ObjectInfo& info : page.objects) info.key.insert(0, prefix_);
    if (!page.next.empty()) page.next.insert(0, prefix_);
    return page;
  }
  Result<ports::ObjectInfo> put(const ports::ObjectUpload& upload, const UniqueFd& file,
                                const ports::Call& call) override {
    ports::ObjectUpload below = upload;
    ASSIGN_OR_RETURN(below.key, relative(upload.key));
    ASSIGN_OR_RETURN(ports::ObjectInfo info, store_->put(below, file, call));
    info.key = upload.key;
    return info;
  }
  Status remove(const std::string& key, const ports::Call& call) override {
    ASSIGN_OR_RETURN(const std::string below, relative(key));
    return store_->remove(below, call);
  }

 private:
  Result<std::string> relative(const std::string& key) const {
    if (key.starts_with(prefix_)) return key.substr(prefix_.size());
    return invalid_argument("'" + key + "' does not lie below " + prefix_);
  }

  const std::shared_ptr<ports::ObjectStore> store_;
  const std::string prefix_;
};

}  // namespace

std::shared_ptr<ports::ObjectStore> open_folder_store(UniqueFd folder, std::string prefix) {
  auto store = std::make_shared<FolderStore>(std::move(folder));
  if (prefix.empty()) return store;
  return std::make_shared<PrefixedStore>(std::move(store), std::move(prefix));
}

Result<std::shared_ptr<ports::ObjectStore>> open_folder_store(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd folder, sys::open(path, O_PATH | O_DIRECTORY));
  return open_folder_store(std::move(folder));
}

}  // namespace thaw::adapters
