// The catalog: which functions exist, and the packages they run. What it has acknowledged survives kill -9.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "model/function.h"

namespace thaw::control {

struct Page {
  std::vector<model::FunctionRecord> functions;  // by name
  std::string next_marker;                       // empty on the last page
};

// Ownership: holds the database (DATA/catalog.db) and the package folders (DATA/packages/SHA256/).
// Threads: every method from any thread; they do file I/O, so not from an event loop's thread but find(), which
// answers from memory.
class Catalog {
 public:
  // Opens or makes the catalog in data_folder; clears half-done uploads that a crash left.
  static Result<std::unique_ptr<Catalog>> open(const std::string& data_folder);
  virtual ~Catalog() = default;

  // nullptr when there is none. Names compare without regard to ASCII case. Memory only: cheap, never blocks on I/O.
  virtual std::shared_ptr<const model::FunctionRecord> find(std::string_view name) const = 0;
  virtual Result<Page> list(const std::string& marker, std::size_t count_max) const = 0;
  virtual std::size_t count() const = 0;

  struct Deploy {
    std::string name;          // from the caller; must equal the manifest's name when that gives one
    std::string package_path;  // a staged upload: a zip file inside new_upload_path()'s folder; consumed in any case
    // Overrides of the manifest, as TOML text of [function]-level keys; may be empty.
    std::string overrides;
  };
  // Intake of the zip, validation, then the record: all or nothing. A function of that name is replaced.
  // Errors: invalid_argument and too_large name the offending entry or field; nothing stays behind.
  virtual Result<model::FunctionRecord> deploy(const Deploy& request) = 0;
  virtual Status remove(std::string_view name) = 0;

  // A fresh path for an upload, inside the data folder.
  virtual std::string new_upload_path() = 0;
  // The package's folder (O_PATH), kept from removal while the returned hold lives.
  struct PackageHold {
    UniqueFd folder;
    std::shared_ptr<const void> hold;
  };
  virtual Result<PackageHold> hold_package(const std::string& code_sha256) = 0;
};

}  // namespace thaw::control
