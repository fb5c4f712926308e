#include "control/zip_intake.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/digest/sha256.h"
#include "base/sys.h"
#include "control/entry_path.h"
#include "control/zip_end.h"

namespace thaw::control {
namespace {

using Type = PackageEntry::Type;

constexpr std::size_t kReadBytes = 65536;

struct ArchiveFree {
  void operator()(archive* a) const { archive_read_free(a); }
};

// libarchive converts names through the thread's locale; only with UTF-8 on both sides do all names pass unchanged.
class Utf8Locale {
 public:
  Utf8Locale() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (locale_ != nullptr) before_ = ::uselocale(locale_);
  }
  ~Utf8Locale() {
    if (locale_ == nullptr) return;
    ::uselocale(before_);
    ::freelocale(locale_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  locale_t locale_ = nullptr;
  locale_t before_ = nullptr;
};

std::string join(const std::vector<std::string>& parts, std::size_t count) {
  std::string path;
  for (std::size_t i = 0; i < count; ++i) path += (i == 0 ? "" : "/") + parts[i];
  return path;
}

std::string mebibytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

class Unpacker {
 public:
  Unpacker(const UniqueFd& zip, const UniqueFd& folder, const IntakeLimits& limits)
      : zip_(zip), folder_(folder), limits_(limits), archive_(archive_read_new()) {}

  Result<UnpackedPackage> run() {
    RETURN_IF_ERROR(open());
    for (;;) {
      archive_entry* entry = nullptr;
      const int code = archive_read_next_header(archive_.get(), &entry);
      if (code == ARCHIVE_EOF) break;
      if (code != ARCHIVE_OK) return archive_error("an entry's header");
      RETURN_IF_ERROR(unpack(entry));
    }
    if (entries_.empty()) return invalid_argument("the zip is empty");
    return finish();
  }

 private:
  struct Content {
    PackageEntry entry;
    Sha256Digest digest{};
  };

  Error archive_error(const std::string& where) {
    const char* text = archive_error_string(archive_.get());
    const std::string_view reason = text == nullptr ? "unknown" : text;
    return invalid_argument("the zip is damaged at " + where + ": " + shown_name(reason));
  }

  Error entry_error(std::string_view problem) const {
    return invalid_argument("the zip's entry \"" + shown_name(name_) + "\" " + std::string(problem));
  }

  Error too_large(const std::string& problem) const { return {ErrorKind::too_large, problem}; }

  // A failure of the disk while this entry was written; paths of the host stay out of it.
  Error disk_error(int error_number) const {
    if (error_number == ENOSPC || error_number == EDQUOT) {
      return {ErrorKind::unavailable, "the disk is full: no room to unpack \"" + shown_name(name_) + "\"", "Disk.Full"};
    }
    return sys::errno_error("unpacking \"" + shown_name(name_) + "\"", error_number);
  }

  Status open() {
    if (archive_ == nullptr) return Error{ErrorKind::unavailable, "no memory to read the zip"};
    struct stat info {};
    if (::fstat(zip_.get(), &info) != 0) return sys::errno_error("the upload");
    zip_bytes_ = static_cast<std::uint64_t>(info.st_size);
    char magic[4] = {};
    const ssize_t got = ::pread(zip_.get(), magic, sizeof(magic), 0);
    const bool looks_like_zip = got == 4 && magic[0] == 'P' && magic[1] == 'K';
    if (!looks_like_zip) return invalid_argument("the package is not a zip file");
    // The end record alone; libarchive sees no zip in it.
    if (magic[2] == 5 && magic[3] == 6) return invalid_argument("the zip is empty");
    RETURN_IF_ERROR(check_zip_end(zip_, limits_));
    if (::lseek(zip_.get(), 0, SEEK_SET) != 0) return sys::errno_error("the upload");
    // Only the reader that goes by the central directory: the streaming one would accept a zip that is cut short.
    archive_read_support_format_zip_seekable(archive_.get());
    if (archive_read_open_fd(archive_.get(), zip_.get(), kReadBytes) != ARCHIVE_OK) {
      return invalid_argument("the zip is cut short or damaged: its central directory is not there");
    }
    return {};
  }

  Status unpack(archive_entry* entry) {
    const char* raw_name = archive_entry_pathname(entry);
    name_ = raw_name == nullptr ? "" : raw_name;
    if (raw_name == nullptr) return invalid_argument("the zip has an entry whose name is not UTF-8");
    if (++entries_seen_ > limits_.entries_max) {
      return too_large("the zip has more than " + std::to_string(limits_.entries_max) + " entries");
    }
    if (archive_entry_is_encrypted(entry) != 0) return entry_error("is encrypted; deploy without a password");
    if (archive_entry_hardlink(entry) != nullptr) return entry_error("is a hard link");
    ASSIGN_OR_RETURN(const std::vector<std::string> parts, entry_parts(name_, limits_));
    const auto type = archive_entry_filetype(entry);
    if (parts.empty()) {
      return type == AE_IFDIR ? Status() : Status(entry_error("names the package's own folder"));
    }
    if (type == AE_IFDIR) {
      RETURN_IF_ERROR(folder_of(parts, parts.size()));
      return {};
    }
    if (type == AE_IFLNK) return unpack_link(entry, parts);
    if (type == AE_IFREG) return unpack_file(entry, parts);
    return entry_error("is neither a file, a folder nor a link");
  }

  // Makes the folder of the first `count` parts, and keeps it open for the next entry. Never follows a link.
  Status folder_of(const std::vector<std::string>& parts, std::size_t count) {
    const std::string path = join(parts, count);
    if (parent_.valid() && path == parent_path_) return {};
    ASSIGN_OR_RETURN(UniqueFd at, sys::openat(folder_, ".", O_RDONLY | O_DIRECTORY));
    for (std::size_t i = 0; i < count; ++i) {
      const std::string& part = parts[i];
      const bool made = ::mkdirat(at.get(), part.c_str(), 0755) == 0;
      if (!made && errno != EEXIST) return disk_error(errno);
      if (made) {
        const std::string made_path = join(parts, i + 1);
        // Folders that no entry names count too: else names alone could fill the disk's inodes.
        if (entries_.size() >= limits_.entries_max) {
          return too_large("the zip has more than " + std::to_string(limits_.entries_max) +
                           " entries, folders included");
        }
        entries_.emplace(made_path, Content{{made_path, Type::folder, 0}});
      }
      UniqueFd next(::openat(at.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!next.valid()) {
        if (errno == ENOTDIR || errno == ELOOP)
          return entry_error("uses another entry, which is no folder, as a folder");
        return disk_error(errno);
      }
      // The umask of the daemon has no say in what a package is.
      if (made && ::fchmod(next.get(), 0755) != 0) return disk_error(errno);
      at = std::move(next);
    }
    parent_ = std::move(at);
    parent_path_ = path;
    return {};
  }

  Status check_room(std::uint64_t more) const {
    const std::uint64_t total = bytes_ + more;
    if (more > limits_.unpacked_bytes_max || total > limits_.unpacked_bytes_max) {
      return too_large("the zip unpacks to more than " + mebibytes(limits_.unpacked_bytes_max) + " (at \"" +
                       shown_name(name_) + "\")");
    }
    if (total > limits_.ratio_free_bytes && total / limits_.ratio_max > zip_bytes_) {
      return too_large("the zip unpacks to more than " + std::to_string(limits_.ratio_max) + " times its size (at \"" +
                       shown_name(name_) + "\")");
    }
    return {};
  }

  Status add(Content content) {
    if (entries_.size() >= limits_.entries_max) {
      return too_large("the zip has more than " + std::to_string(limits_.entries_max) + " entries, folders included");
    }
    std::string path = content.entry.path;
    if (!entries_.emplace(std::move(path), std::move(content)).second) return entry_error("comes twice");
    return {};
  }

  Status unpack_link(archive_entry* entry, const std::vector<std::string>& parts) {
    const char* raw_target = archive_entry_symlink(entry);
    const std::string target = raw_target == nullptr ? "" : raw_target;
    if (auto status = check_link_target(target, parts.size() - 1, limits_); !status)
      return entry_error(status.error().message);
    RETURN_IF_ERROR(check_room(target.size()));
    RETURN_IF_ERROR(folder_of(parts, parts.size() - 1));
    if (::symlinkat(target.c_str(), parent_.get(), parts.back().c_str()) != 0) {
      return errno == EEXIST ? entry_error("comes twice") : disk_error(errno);
    }
    Content content{{join(parts, parts.size()), Type::link, target.size()}};
    Sha256 hash;
    hash.update(target);
    content.digest = hash.finish();
    bytes_ += target.size();
    return add(std::move(content));
  }

  Status unpack_file(archive_entry* entry, const std::vector<std::string>& parts) {
    // Before a byte is unpacked: the other methods' decoders stay unused.
    const std::string_view format = archive_format_name(archive_.get());
    if (format.find("(uncompressed)") == std::string_view::npos &&
        format.find("(deflation)") == std::string_view::npos) {
      return entry_error("is compressed in a way other than deflate");
    }
    const bool size_known = archive_entry_size_is_set(entry) != 0;
    if (size_known && archive_entry_size(entry) < 0) return entry_error("has an impossible size");
    if (size_known) RETURN_IF_ERROR(check_room(static_cast<std::uint64_t>(archive_entry_size(entry))));
    RETURN_IF_ERROR(folder_of(parts, parts.size() - 1));
    const bool executable = (archive_entry_perm(entry) & 0111) != 0;
    const mode_t mode = executable ? 0755 : 0644;
    UniqueFd file(
        ::openat(parent_.get(), parts.back().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!file.valid()) return errno == EEXIST ? entry_error("comes twice") : disk_error(errno);
    if (::fchmod(file.get(), mode) != 0) return disk_error(errno);
    Content content{{join(parts, parts.size()), executable ? Type::executable : Type::file, 0}};
    RETURN_IF_ERROR(copy_data(file, content));
    if (size_known && content.entry.bytes != static_cast<std::uint64_t>(archive_entry_size(entry))) {
      return entry_error("is shorter or longer than the zip says");
    }
    return add(std::move(content));
  }

  Status copy_data(const UniqueFd& file, Content& content) {
    Sha256 hash;
    for (;;) {
      const la_ssize_t count = archive_read_data(archive_.get(), buffer_.data(), buffer_.size());
      if (count == 0) break;
      if (count < 0) return archive_error("\"" + shown_name(name_) + "\"");
      const std::string_view bytes(buffer_.data(), static_cast<std::size_t>(count));
      RETURN_IF_ERROR(check_room(bytes.size()));
      std::string_view rest = bytes;
      while (!rest.empty()) {
        const ssize_t written = ::write(file.get(), rest.data(), rest.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return disk_error(errno);
        rest.remove_prefix(static_cast<std::size_t>(written));
      }
      hash.update(bytes);
      bytes_ += bytes.size();
      content.entry.bytes += bytes.size();
    }
    content.digest = hash.finish();
    return {};
  }

  UnpackedPackage finish() {
    Sha256 hash;
    hash.update("thaw-package-1\n");
    const auto number = [&](std::uint64_t value) {
      char bytes[8];
      for (char& byte : bytes) {
        byte = static_cast<char>(value & 0xFF);
        value >>= 8;
      }
      hash.update({bytes, sizeof(bytes)});
    };
    UnpackedPackage package{.entries = {}, .bytes = bytes_, .sha256 = {}};
    for (auto& [path, content] : entries_) {
      const char type = static_cast<char>(content.entry.type);
      hash.update({&type, 1});
      number(path.size());
      hash.update(path);
      number(content.entry.bytes);
      hash.update({reinterpret_cast<const char*>(content.digest.data()), content.digest.size()});
      package.entries.push_back(std::move(content.entry));
    }
    package.sha256 = hex(hash.finish());
    return package;
  }

  const UniqueFd& zip_;
  const UniqueFd& folder_;
  const IntakeLimits& limits_;
  const Utf8Locale locale_;
  const std::unique_ptr<archive, ArchiveFree> archive_;
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
  std::uint64_t zip_bytes_ = 0;
  std::uint64_t bytes_ = 0;
  std::size_t entries_seen_ = 0;
  std::map<std::string, Content> entries_;
  std::string name_;  // of the entry being unpacked
  UniqueFd parent_;   // the folder of the last file
  std::string parent_path_;
};

}  // namespace

Result<UnpackedPackage> unpack_zip(const UniqueFd& zip_fd, const UniqueFd& folder, const IntakeLimits& limits) {
  return Unpacker(zip_fd, folder, limits).run();
}

}  // namespace thaw::control
