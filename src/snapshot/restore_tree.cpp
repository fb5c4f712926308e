// The private folders of an image, in the empty ones of an environment.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <set>

#include "base/sys.h"
#include "snapshot/restore_parts.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint32_t kPermissions = 07777;
constexpr std::uint64_t kSecondNs = 1'000'000'000;

Status set_time(const TreeNode& node) {
  timespec times[2] = {};
  times[0].tv_nsec = UTIME_OMIT;
  times[1].tv_sec = static_cast<time_t>(node.modified_ns / kSecondNs);
  times[1].tv_nsec = static_cast<long>(node.modified_ns % kSecondNs);
  if (::utimensat(AT_FDCWD, node.path.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return sys::errno_error(node.path);
  return {};
}

// Names that bind(2) makes.
std::set<std::string> names_of_sockets(const Image& image) {
  std::set<std::string> names;
  for (const Descriptor& descriptor : image.descriptors) {
    if (!descriptor.has_node || descriptor.address.size() <= sizeof(sa_family_t)) continue;
    const auto* text = reinterpret_cast<const char*>(descriptor.address.data()) + sizeof(sa_family_t);
    names.emplace(text, ::strnlen(text, descriptor.address.size() - sizeof(sa_family_t)));
  }
  return names;
}

Status make_file(const RestoreContext& context, const TreeNode& node) {
  ASSIGN_OR_RETURN(const UniqueFd file, sys::open(node.path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return fill_object(context, context.image.objects[node.object], file.get());
}

Status make_node(const RestoreContext& context, const TreeNode& node) {
  const char* const path = node.path.c_str();
  int made = 0;
  switch (node.mode & S_IFMT) {
    case S_IFREG:
      RETURN_IF_ERROR(make_file(context, node));
      break;
    case S_IFDIR:
      made = ::mkdir(path, 0700);
      break;
    case S_IFLNK:
      made = ::symlink(node.target.c_str(), path);
      break;
    default:
      made = ::mknod(path, (node.mode & S_IFMT) | 0600, 0);
  }
  if (made != 0) return sys::errno_error(node.path);
  // The owner first: a change of owner takes set-user-id bits away.
  if (context.user != 0 && ::lchown(path, context.user, context.user) != 0) return sys::errno_error(node.path);
  if (!S_ISLNK(node.mode) && ::chmod(path, node.mode & kPermissions) != 0) return sys::errno_error(node.path);
  return S_ISDIR(node.mode) ? Status() : set_time(node);
}

}  // namespace

Status restore_tree(const RestoreContext& context) {
  const Image& image = context.image;
  for (const std::string& folder : image.private_folders) {
    const auto& offered = context.private_folders;
    if (std::find(offered.begin(), offered.end(), folder) == offered.end())
      return Error{ErrorKind::unsupported, "snapshot: " + folder + " is no folder of the function's own here"};
  }
  const std::set<std::string> bound = names_of_sockets(image);
  for (const TreeNode& node : image.tree) {
    if (S_ISSOCK(node.mode) && bound.contains(node.path)) continue;
    if (node.link_of == 0) {
      RETURN_IF_ERROR(make_node(context, node));
    } else if (::link(image.tree[node.link_of - 1].path.c_str(), node.path.c_str()) != 0) {
      return sys::errno_error(node.path);
    }
  }
  return {};
}

Status restore_folder_times(const RestoreContext& context) {
  const auto& tree = context.image.tree;
  for (auto node = tree.rbegin(); node != tree.rend(); ++node) {
    if (S_ISDIR(node->mode)) RETURN_IF_ERROR(set_time(*node));
  }
  return {};
}

}  // namespace thaw::snapshot
