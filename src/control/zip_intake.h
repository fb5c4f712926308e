// A zip from outside becomes a folder, or nothing does.
//
// A zip is a program for the unpacker: its names can climb out of the folder, its links can lead out of it, a few
// kilobytes can unpack to terabytes, and two parsers can read two different contents. So the names are checked before
// a file is made, every file is made relative to a descriptor of its folder without following links, sizes are
// bounded while bytes flow, and only what the central directory lists counts. Of the zip's metadata only the
// executable bit is kept.
//
// Refused, each by a message that names the entry: absolute names, "..", names that are not UTF-8 or hold control
// characters or are longer than the limits, entries that come twice, links that lead out, devices, encrypted entries,
// compression other than deflate, checksums that do not match, and zips beyond the limits below.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::control {

struct IntakeLimits {
  std::size_t entries_max = 20000;
  std::uint64_t unpacked_bytes_max = 4ULL << 30;
  // A zip may unpack to this many times its own size, once it is beyond ratio_free_bytes.
  std::uint64_t ratio_max = 200;
  std::uint64_t ratio_free_bytes = 32ULL << 20;
  std::size_t path_bytes_max = 1024;
  std::size_t depth_max = 64;
};

struct PackageEntry {
  enum class Type : char { file = 'f', executable = 'x', link = 'l', folder = 'd' };
  std::string path;  // relative, parts joined by one '/'
  Type type = Type::file;
  std::uint64_t bytes = 0;
};

struct UnpackedPackage {
  std::vector<PackageEntry> entries;  // by path, folders included
  std::uint64_t bytes = 0;            // of all files and link targets
  std::string sha256;                 // of the canonical content (docs/formats/catalog.md), lower-case hex
};

// Unpacks the zip that zip_fd holds (a seekable file) into the empty folder. Files get mode 0644 or 0755, folders
// 0755. Nothing is synced. After an error the folder holds rubbish for the caller to remove.
// Threads: any, each with its own descriptors.
// Errors: invalid_argument and too_large for the zip; unavailable when the disk is full; internal.
Result<UnpackedPackage> unpack_zip(const UniqueFd& zip_fd, const UniqueFd& folder, const IntakeLimits& limits);

}  // namespace thaw::control
