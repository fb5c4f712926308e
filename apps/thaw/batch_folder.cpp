#include <dirent.h>
#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>

#include "base/sys.h"
#include "batch_sources.h"
#include "text.h"

namespace thaw::cli {
namespace {

// Names of one folder are held and sorted.
constexpr std::size_t kFolderNamesMax = 2'000'000;
constexpr std::size_t kFolderDepthMax = 100;
// Beyond these nobody waits for the count.
constexpr std::uint64_t kCountedFilesMax = 1'000'000;

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

struct Level {
  std::string path;  // "below/", relative to the folder; empty at the top
  std::vector<std::string> names;
  std::size_t at = 0;
};

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
};

class FolderSource final : public BatchSource {
 public:
  explicit FolderSource(FolderInput input) : input_(std::move(input)) {
    struct stat info {};
    if (!input_.except.empty() && ::stat(input_.except.c_str(), &info) == 0) except_ = {info.st_dev, info.st_ino};
  }

  Status open() { return enter(""); }

  Result<std::optional<BatchItem>> next() override {
    while (!levels_.empty()) {
      Level& level = levels_.back();
      if (level.at == level.names.size()) {
        levels_.pop_back();
        continue;
      }
      const std::string relative = level.path + level.names[level.at++];
      const std::string path = input_.folder + "/" + relative;
      struct stat info {};
      if (::lstat(path.c_str(), &info) != 0) continue;  // gone meanwhile
      if (S_ISDIR(info.st_mode)) {
        RETURN_IF_ERROR(enter(relative + "/"));
        continue;
      }
      // A link to a folder might lead round in a circle.
      if (S_ISLNK(info.st_mode) && ::stat(path.c_str(), &info) != 0) continue;
      if (!S_ISREG(info.st_mode) || is_output(info) || !is_included(relative)) continue;
      ++given_;
      return std::optional<BatchItem>(item_of(relative, path));
    }
    return std::optional<BatchItem>();
  }

  std::optional<double> share_read() const override {
    if (total_ == 0) return std::nullopt;
    return std::min(1.0, static_cast<double>(given_) / static_cast<double>(total_));
  }

  std::uint64_t given() const { return given_; }
  void set_total(std::uint64_t total) { total_ = total; }

 private:
  Status enter(const std::string& relative) {
    if (levels_.size() == kFolderDepthMax)
      return invalid_argument("--input: folders are nested deeper than " + std::to_string(kFolderDepthMax) + " at " +
                              printable(relative));
    const std::string path = input_.folder + "/" + relative;
    const std::unique_ptr<DIR, CloseFolder> folder(::opendir(path.c_str()));
    if (folder == nullptr) return sys::errno_error("--input " + path);
    Level level{.path = relative, .names = {}};
    errno = 0;
    while (const dirent* entry = ::readdir(folder.get())) {
      if (entry->d_name[0] == '.') continue;
      if (level.names.size() == kFolderNamesMax)
        return invalid_argument("--input: more than " + std::to_string(kFolderNamesMax) + " names in " +
                                printable(path) + ": put them into several folders");
      level.names.emplace_back(entry->d_name);
      errno = 0;
    }
    if (errno != 0) return sys::errno_error("--input " + path);
    std::sort(level.names.begin(), level.names.end());
    levels_.push_back(std::move(level));
    return {};
  }

  bool is_output(const struct stat& info) const {
    return except_.inode != 0 && info.st_dev == except_.device && info.st_ino == except_.inode;
  }

  bool is_included(const std::string& relative) const {
    if (input_.include.empty()) return true;
    const std::string name = relative.substr(relative.rfind('/') + 1);
    return std::any_of(input_.include.begin(), input_.include.end(), [&](const std::string& glob) {
      const bool whole = glob.find('/') != std::string::npos;
      return ::fnmatch(glob.c_str(), (whole ? relative : name).c_str(), whole ? FNM_PATHNAME : 0) == 0;
    });
  }

  static BatchItem item_of(const std::string& relative, const std::string& path) {
    // Names are any bytes, ids are UTF-8.
    return {.id = is_valid_utf8(relative) ? relative : percent_encode_path(relative),
            .content_type = content_type_of(relative),
            .body = {},
            .file = path,
            .fault = {}};
  }

  FolderInput input_;
  FileId except_;
  std::vector<Level> levels_;
  std::atomic<std::uint64_t> given_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace

std::string content_type_of(const std::string& name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 22> kTypes = {{
      {"jpg", "image/jpeg"},
      {"jpeg", "image/jpeg"},
      {"png", "image/png"},
      {"webp", "image/webp"},
      {"gif", "image/gif"},
      {"bmp", "image/bmp"},
      {"tif", "image/tiff"},
      {"tiff", "image/tiff"},
      {"svg", "image/svg+xml"},
      {"json", "application/json"},
      {"jsonl", "application/jsonl"},
      {"txt", "text/plain; charset=utf-8"},
      {"md", "text/markdown; charset=utf-8"},
      {"csv", "text/csv; charset=utf-8"},
      {"html", "text/html; charset=utf-8"},
      {"xml", "application/xml"},
      {"pdf", "application/pdf"},
      {"zip", "application/zip"},
      {"wav", "audio/wav"},
      {"mp3", "audio/mpeg"},
      {"mp4", "video/mp4"},
      {"npy", "application/octet-stream"},
  }};
  const std::size_t dot = name.rfind('.');
  if (dot != std::string::npos) {
    std::string extension = name.substr(dot + 1);
    for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    for (const auto& [known, type] : kTypes) {
      if (extension == known) return std::string(type);
    }
  }
  return "application/octet-stream";
}

Result<std::unique_ptr<BatchSource>> open_folder_source(const FolderInput& input) {
  auto source = std::make_unique<FolderSource>(input);
  RETURN_IF_ERROR(source->open());
  if (input.count) {
    FolderSource counted(input);
    RETURN_IF_ERROR(counted.open());
    bool more = true;
    while (more && counted.given() < kCountedFilesMax) {
      ASSIGN_OR_RETURN(const std::optional<BatchItem> item, counted.next());
      more = item.has_value();
    }
    if (!more) source->set_total(counted.given());
  }
  return std::unique_ptr<BatchSource>(std::move(source));
}

}  // namespace thaw::cli
