// The snapshots of published versions on disk: FOLDER/REVISION.img, and beside it what is known of the version,
// FOLDER/REVISION.json, one of each.
//
// A file appears under its name only when it is whole. Threads: any. Errors: what the file system says.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::snapshot {

struct StoredImage {
  std::string revision_id;
  std::uint64_t disk_bytes = 0;  // that the file takes, holes left out
  std::chrono::system_clock::time_point used_at{};
};

class SnapshotFolder {
 public:
  // Makes the folder where it is not there.
  static Result<std::unique_ptr<SnapshotFolder>> open(const std::string& path);

  // The snapshot of a revision, readable. Errors: not_found.
  Result<UniqueFd> find(const std::string& revision_id) const;
  // A file without a name, which is gone when it is closed.
  Result<UniqueFd> create() const;
  // Gives a file of create() its name, durably; it takes the place of an older one at once.
  Status publish(const UniqueFd& file, const std::string& revision_id) const;
  // The image alone.
  void remove(const std::string& revision_id) const;

  // Errors of load_state: not_found.
  Status save_state(const std::string& revision_id, std::string_view json) const;
  Result<std::string> load_state(const std::string& revision_id) const;
  // Image and state.
  void forget(const std::string& revision_id) const;

  std::vector<StoredImage> images() const;
  // Remembers, across restarts, that the image was used now.
  static void mark_used(const UniqueFd& image);
  static std::uint64_t disk_bytes(const UniqueFd& image);
  // Removes what belongs to none of these.
  void keep_only(const std::set<std::string>& revision_ids) const;

 private:
  SnapshotFolder(std::string path, UniqueFd folder) : path_(std::move(path)), folder_(std::move(folder)) {}
  static std::string name_of(const std::string& revision_id) { return revision_id + ".img"; }
  std::string state_path(const std::string& revision_id) const { return path_ + "/" + revision_id + ".json"; }

  const std::string path_;
  const UniqueFd folder_;
};

}  // namespace thaw::snapshot
