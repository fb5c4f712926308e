// The object stores that models come from, as this process may reach them: endpoints, credentials and folders. Read
// while the process still may read them (the daemon: as root, before it becomes somebody else).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "adapters/s3/settings.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "ports/object_store.h"
#include "store/model_uri.h"

namespace thaw::cli {

struct StoreSettings {
  adapters::S3Settings s3;
  // Why there are no settings of S3; whoever opens an s3: address gets it.
  std::optional<Error> s3_problem;
  std::string hub_endpoint = "https://huggingface.co";
  std::string hub_token;
  std::string ca_file;
};

// From the environment, Amazon's two files and the Hugging Face token's file. Errors: invalid_argument names the
// variable or file. What is wrong with S3's is kept for who uses S3.
Result<StoreSettings> load_store_settings(const adapters::Environment& environment);

// Ownership: keeps the stores it has opened, and with them their connections. Threads: any.
class ModelStores {
 public:
  explicit ModelStores(StoreSettings settings) : settings_(std::move(settings)) {}

  // file:PATH is answered from this folder, file:/PATH too where that lies below its path. The first is the daemon's
  // own. Before the first open().
  void add_folder(UniqueFd folder, const std::string& path);

  const std::optional<Error>& s3_problem() const { return settings_.s3_problem; }
  // Not for package: addresses. Errors: invalid_argument, forbidden (a file: outside of the folders), internal.
  Result<std::shared_ptr<ports::ObjectStore>> open(const store::ModelUri& uri);

 private:
  struct Folder {
    std::string path;
    std::shared_ptr<ports::ObjectStore> relative;
    std::shared_ptr<ports::ObjectStore> absolute;
  };
  Result<std::shared_ptr<ports::ObjectStore>> make(const store::ModelUri& uri) const;

  const StoreSettings settings_;
  std::vector<Folder> folders_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<ports::ObjectStore>> opened_;  // guarded by mutex_
};

}  // namespace thaw::cli
