// The parts of a restore that come before the tables (restore.h): files, descriptors, watches.
//
// Errors of all: unsupported when this machine or environment is not what the image wants; else what the kernel says.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

// What the parts share. Ownership: borrows all.
struct RestoreContext {
  const Image& image;
  const std::vector<std::string>& private_folders;  // of the environment, empty now
  int image_file = -1;
  int output = -1;
  std::uint32_t first_free = 0;  // numbers from here on are the restore's own
  uid_t user = 0;                // 0: owners are left
};

// Takes fd over and gives it a number that is not the function's. Errors: also when fd is negative, from errno.
Result<UniqueFd> move_above(int fd, std::uint32_t first_free);

// ---- Files (restore_objects.cpp, restore_tree.cpp) ----

// Beside image.objects: a descriptor for reading and writing, above first_free, open until the function goes on; -1 for
// the files of the tree.
Result<std::vector<int>> restore_objects(const RestoreContext& context);
// Writes an object's pages into an empty file.
Status fill_object(const RestoreContext& context, const Object& object, int file);
// Makes what the private folders hold, but the names of sockets that the process is bound to.
Status restore_tree(const RestoreContext& context);
// With nothing left to be made in them: the times of the folders.
Status restore_folder_times(const RestoreContext& context);

// ---- Descriptors (restore_descriptors.cpp, restore_sockets.cpp, restore_watches.cpp) ----

// Makes every descriptor of the image and puts it at its numbers, all of which are free now.
Status restore_descriptors(const RestoreContext& context, const std::vector<int>& objects);
// After the last file has been opened: what inotify watches. Whatever is done to files afterwards, the function sees.
Status restore_watches(const RestoreContext& context);
// flock(2) and locks of descriptions; those of the process come last of all (restore_plan.cpp).
Status restore_locks(const Descriptor& descriptor);

class SocketMaker {
 public:
  explicit SocketMaker(const RestoreContext& context) : context_(context) {}
  static bool makes(DescriptorKind kind);
  Result<UniqueFd> make(const Descriptor& descriptor);
  // With all sockets at their numbers: what waits in them; and with all filled, which ways are shut.
  Status fill(const Descriptor& descriptor) const;
  static Status shut(const Descriptor& descriptor);

 private:
  Result<UniqueFd> make_pair(const Descriptor& descriptor);
  Result<UniqueFd> make_unix(const Descriptor& descriptor) const;
  Result<UniqueFd> make_internet(const Descriptor& descriptor) const;
  Result<UniqueFd> make_reset(const Descriptor& descriptor) const;
  Status bind_name(const UniqueFd& socket, const Descriptor& descriptor) const;
  Status bind_path(const UniqueFd& socket, const Descriptor& descriptor, const std::string& path) const;

  const RestoreContext& context_;
  std::map<std::uint64_t, UniqueFd> others_;  // ends that wait to be asked for, or whose owner is gone
};

}  // namespace thaw::snapshot
