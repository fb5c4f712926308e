// Packs what somebody deploys, as a zip, while it is being sent: nothing is written to disk and nothing is held whole.
//
// What may be deployed:
//   a folder with thaw.toml   every file in it, but .git and __pycache__ folders
//   a folder with model.onnx  the model and the files beside it that a model server reads
//   NAME.onnx                 the same, with that file as model.onnx
//   NAME.gguf                 that file, for llama-server
//   s3://BUCKET/KEY.gguf, …   a thaw.toml that names it: the daemon fetches the model
//   a zip                     as it is
//
// Files are stored, not compressed: the way to the daemon is a socket, and weights hardly shrink.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace thaw::cli {

inline constexpr std::size_t kPackageEntriesMax = 200000;

struct PackageEntry {
  enum class Kind : std::uint8_t { file, folder, link };
  Kind kind = Kind::file;
  std::string name;    // inside the package, '/'-separated
  std::string source;  // file: its path on this machine, empty: it holds `text`; link: its target
  std::uint64_t bytes = 0;
  std::uint32_t mode = 0644;
  std::int64_t modified_s = 0;
  std::string text;
};

struct PackagePlan {
  // Set: this zip is sent as it is, and entries is empty.
  std::string zip_path;
  std::vector<PackageEntry> entries;
  std::uint64_t bytes = 0;  // of all files, or of the zip
  // thaw.toml's text, or what stands for it with a bare model; empty when a zip holds none that is found.
  std::string manifest;
  // A valid function name made from the folder's or the file's; empty when nothing of it can be used.
  std::string suggested_name;
  // For people: files left out and why, one phrase each.
  std::vector<std::string> notes;
};

// Looks at what path names, reads no file but the manifest.
// Errors: invalid_argument, naming the file that cannot be part of a package and what to do.
Result<PackagePlan> plan_package(const std::string& path);

// "My model (v2)" -> "My-model-v2".
std::string name_from(std::string_view text);

// Ownership: keeps one file open at a time.
// Threads: one at a time.
class PackageReader {
 public:
  explicit PackageReader(const PackagePlan& plan);  // plan outlives the reader
  ~PackageReader();
  PackageReader(const PackageReader&) = delete;
  PackageReader& operator=(const PackageReader&) = delete;

  // The next bytes of the zip; 0 at its end. Errors: conflict when a file changed since it was planned.
  Result<std::size_t> read(std::span<char> into);
  // Bytes of the plan's files read so far.
  std::uint64_t bytes_read() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace thaw::cli
