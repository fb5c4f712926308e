// The snapshots of published versions on disk: FOLDER/REVISION.img, one file each.
//
// A file appears under its name only when it is whole. Threads: any. Errors: what the file system says.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::snapshot {

class SnapshotFolder {
 public:
  // Makes the folder where it is not there.
  static Result<std::unique_ptr<SnapshotFolder>> open(const std::string& path);

  // The snapshot of a revision, readable. Errors: not_found.
  Result<UniqueFd> find(const std::string& revision_id) const;
  // A file without a name, which is gone when it is closed.
  Result<UniqueFd> create() const;
  // Gives a file of create() its name, durably.
  Status publish(const UniqueFd& file, const std::string& revision_id) const;
  void remove(const std::string& revision_id) const;
  // Removes what belongs to none of these.
  void keep_only(const std::set<std::string>& revision_ids) const;

 private:
  SnapshotFolder(std::string path, UniqueFd folder) : path_(std::move(path)), folder_(std::move(folder)) {}
  static std::string name_of(const std::string& revision_id) { return revision_id + ".img"; }

  const std::string path_;
  const UniqueFd folder_;
};

}  // namespace thaw::snapshot
