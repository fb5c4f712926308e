// The folders of packages on disk, by content: written once, shared by the functions that have the same content, and
// removed when no function names them and no environment uses them.
//
//   DATA/uploads/UUID.zip     being received
//   DATA/staging/UUID/        being unpacked, or being removed
//   DATA/packages/SHA256/     whole, synced, never changed
//   DATA/packages/SHA256.zip  the zip that it came in, where whoever uploaded it may ask for it; goes with the folder
//
// A folder appears in packages/ only by rename, so whatever is there is whole. Uploads and staging hold nothing that
// was acknowledged; opening the store clears them.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/catalog.h"
#include "control/zip_intake.h"

namespace thaw::control {

// Ownership: the three folders. A hold may outlive the store. Threads: every method from any thread.
class PackageStore {
 public:
  struct Options {
    IntakeLimits intake;
    // How long a package that nobody names stays, for those who read the record just before it was replaced.
    std::chrono::milliseconds removal_delay{10000};
    // Whether a function's record names the package. Called under commit_lock.
    std::function<bool(const std::string&)> is_referenced;
    // Held by whoever changes which packages are named. Outlives the store.
    std::mutex* commit_lock = nullptr;
  };
  static Result<std::unique_ptr<PackageStore>> open(const std::string& data_folder, Options options);
  virtual ~PackageStore() = default;

  virtual std::string new_upload_path() = 0;

  // A package on its way in. What it still has in the staging folder goes with it.
  class Staged {
   public:
    explicit Staged(std::string path) : path_(std::move(path)) {}
    Staged(Staged&& other) noexcept
        : folder(std::move(other.folder)),
          content(std::move(other.content)),
          path_(std::exchange(other.path_, {})),
          zip_path_(std::exchange(other.zip_path_, {})) {}
    Staged& operator=(Staged&&) = delete;
    ~Staged();

    const std::string& path() const { return path_; }
    // Where the zip lies that is kept beside the package; empty: it is not kept.
    const std::string& zip_path() const { return zip_path_; }
    void keep_zip(std::string path) { zip_path_ = std::move(path); }

    UniqueFd folder;
    UnpackedPackage content;

   private:
    std::string path_;  // empty: moved from
    std::string zip_path_;
  };
  struct Unpack {
    std::uint64_t unpacked_bytes_max = 0;  // where it is below the intake's own; 0: that one
    bool keep_zip = false;
  };
  // Unpacks an upload and removes it, whatever comes of it.
  virtual Result<Staged> unpack(const std::string& upload_path, const Unpack& how) = 0;
  // Folders laid over one another in order, as a package of its own: files are shared with theirs. name: decides the
  // digest, instead of the content that follows from it.
  virtual Result<Staged> merge(const std::vector<UniqueFd>& folders, const std::string& name) = 0;
  // Puts the package on the disk for good, unless the same content is placed already.
  virtual Status sync(const Staged& staged) = 0;
  // Moves it to its place; fine when the same content is there. Call under commit_lock, with the record's change.
  virtual Status place(const Staged& staged) = 0;

  // The zip that was kept. Errors: not_found.
  virtual Result<UniqueFd> open_zip(const std::string& code_sha256) = 0;
  // not_found when there is no such folder.
  virtual Result<Catalog::PackageHold> hold(const std::string& code_sha256) = 0;
  // Removes the package after the delay, in the background, if nobody names or holds it then.
  virtual void collect(const std::string& code_sha256) = 0;
  // At start: removes the packages that no record names.
  virtual Status remove_unreferenced() = 0;
};

// Marks an error of unpack() that the zip is at fault for with kBadPackage.
Error package_fault(Error error);

}  // namespace thaw::control
