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
// The same of an image in memory that begins at `base` of the file. Its checksums were compared when it was loaded; its
// sense is looked at again, because whoever restores it need not trust whoever loaded it.
Result<Image> read_loaded_image(const UniqueFd& file, std::uint64_t base);

// The checksums of an image's pages, which have been checked themselves, and where everything lies.
struct ImageChunks {
  std::vector<Digest> digests;
  std::uint64_t pages_end = 0;  // pages lie from kPageBytes to here
  std::uint64_t file_bytes = 0;
  // What is no page: offset and bytes.
  std::array<std::pair<std::uint64_t, std::uint64_t>, 2> around{};
};
Result<ImageChunks> read_chunks(const UniqueFd& file);
// One chunk of pages, compared with its checksum. into: as long as the chunk. Errors: corrupt.
Status read_chunk(const UniqueFd& file, const ImageChunks& chunks, std::size_t index, std::span<std::byte> into);

// Compares all pages with their checksums. Errors: corrupt with the first chunk that differs.
Status verify_pages(const UniqueFd& file);

// All of `into`, or corrupt when the file ends before.
Status read_exactly(const UniqueFd& file, std::span<std::byte> into, std::uint64_t offset);

// Of this machine, now.
Result<Fingerprint> this_machine();

}  // namespace thaw::snapshot
