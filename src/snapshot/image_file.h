// The image file: a header, the pages, then the metadata. docs/formats/snapshot.md is the description.
//
// Written crash-safely: pages first, metadata next, both made durable, the header last. A file without a whole header
// is no image, whatever else it holds.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/image.h"
#include "snapshot/workers.h"

namespace thaw::snapshot {

inline constexpr std::size_t kChunkBytes = 512 * 1024;  // what one checksum covers
using Digest = std::array<std::byte, 32>;               // SHA-256

// Chunks are hashed and written by threads of its own; what they fail at is an error of a later call.
// Ownership: borrows the file. Threads: one at a time.
class ImageWriter {
 public:
  // file: writable, empty, seekable. threads: at least 1.
  explicit ImageWriter(const UniqueFd& file, std::size_t threads = 1);

  // Whole pages. Returns the offset in the file at which they lie. Errors: unavailable when the disk is full.
  Result<std::uint64_t> append(std::span<const std::byte> pages);
  // image.pages_bytes is set here. Returns the size of the file.
  Result<std::uint64_t> finish(Image& image);

  // For those who read what is to be written.
  Workers& workers() { return workers_; }

 private:
  struct Written {
    Result<Digest> digest;
    std::vector<std::byte> buffer;  // to be used again
  };

  void hand_over();
  Status collect_first();

  const UniqueFd& file_;
  std::uint64_t end_ = kPageBytes;
  std::vector<std::byte> chunk_;              // not yet handed over
  std::deque<std::future<Written>> writing_;  // in the order of the chunks
  std::vector<std::vector<std::byte>> idle_;
  std::vector<Digest> digests_;
  Workers workers_;  // goes first
};

// Reads and validates everything but the pages. Errors: corrupt with what is wrong; unsupported for another format
// version.
Result<Image> read_image(const UniqueFd& file);

// Reads all pages and compares them with their checksums. Errors: corrupt with the first chunk that differs.
Status verify_pages(const UniqueFd& file);

// Of this machine, now.
Result<Fingerprint> this_machine();

}  // namespace thaw::snapshot
