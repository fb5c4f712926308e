// What lies in the private folders of a held process.
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <system_error>

#include "base/sys.h"
#include "snapshot/freeze.h"
#include "snapshot/freeze_objects.h"
#include "snapshot/proc_files.h"

namespace thaw::snapshot {
namespace {

constexpr std::size_t kNamesBytesMax = 4096;

Error refuse(const std::string& path, const std::string& why) {
  return {ErrorKind::unsupported, path + " " + why + ": remove it before the snapshot"};
}

// Attributes beside those of the kernel's own security modules.
bool has_attributes(const std::string& place) {
  std::string names(kNamesBytesMax, '\0');
  const ssize_t size = ::llistxattr(place.c_str(), names.data(), names.size());
  if (size <= 0) return false;
  for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
    const std::string name = names.c_str() + at;
    if (!name.starts_with("security.")) return true;
    at += name.size() + 1;
  }
  return false;
}

class TreeReader {
 public:
  TreeReader(std::string root, Objects& objects, Image& image)
      : root_(std::move(root)), objects_(objects), image_(image) {}

  Status read(const std::string& folder) {
    struct stat status {};
    if (::stat((root_ + folder).c_str(), &status) != 0) return {};
    image_.private_folders.push_back(folder);
    std::error_code error;
    std::filesystem::recursive_directory_iterator entries(root_ + folder, error);
    for (; !error && entries != std::filesystem::recursive_directory_iterator(); entries.increment(error))
      RETURN_IF_ERROR(add(entries->path().string(), status.st_dev));
    if (error) return Error{ErrorKind::unsupported, folder + " cannot be read: " + error.message()};
    return {};
  }

 private:
  Status add(const std::string& place, dev_t device) {
    TreeNode node{.path = place.substr(root_.size()), .target = {}};
    struct stat status {};
    if (::lstat(place.c_str(), &status) != 0) return sys::errno_error(node.path);
    if (status.st_dev != device) return refuse(node.path, "is a mount");
    if (image_.tree.size() == kTreeNodesMax)
      return refuse(node.path, "is one file too many (there is room for 262,144)");
    if (has_attributes(place)) return refuse(node.path, "has extended attributes");
    node.mode = status.st_mode;
    node.modified_ns = static_cast<std::uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 +
                       static_cast<std::uint64_t>(status.st_mtim.tv_nsec);
    const auto [first, is_new] = first_names_.try_emplace(status.st_ino, image_.tree.size() + 1);
    if (!is_new && !S_ISDIR(status.st_mode)) {
      node.link_of = static_cast<std::uint32_t>(first->second);
    } else {
      RETURN_IF_ERROR(read_contents(place, status, node));
    }
    image_.tree.push_back(std::move(node));
    return {};
  }

  Status read_contents(const std::string& place, const struct stat& status, TreeNode& node) {
    switch (status.st_mode & S_IFMT) {
      case S_IFREG: {
        auto object = objects_.take(ObjectKind::named, node.path, place);
        if (!object.ok()) return refuse(node.path, "is " + object.error().message);
        node.object = *object;
        return {};
      }
      case S_IFLNK: {
        ASSIGN_OR_RETURN(node.target, read_link(place));
        return {};
      }
      case S_IFDIR:
      case S_IFIFO:
      case S_IFSOCK:
        return {};
      default:
        return refuse(node.path, "is a device");
    }
  }

  const std::string root_;
  Objects& objects_;
  Image& image_;
  std::map<ino_t, std::size_t> first_names_;  // of one file system; 1 + the number of the node
};

}  // namespace

Status read_tree(const FreezeRequest& request, Objects& objects, Image& image) {
  // A reader for each folder: they are file systems of their own.
  for (const std::string& folder : request.private_folders)
    RETURN_IF_ERROR(TreeReader(proc_path(request.pid, "root"), objects, image).read(folder));
  return {};
}

}  // namespace thaw::snapshot
