// The image file: a header, the pages, then the metadata. docs/formats/snapshot.md is the description.
//
// Written crash-safely: pages first, metadata next, both made durable, the header last. A file without a whole header
// is no image, whatever else it holds.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

inline constexpr std::size_t kChunkBytes = 512 * 1024;  // what one checksum covers
using Digest = std::array<std::byte, 32>;               // SHA-256

// Ownership: borrows the file. Threads: one at a time.
class ImageWriter {
 public:
  // file: writable, empty, seekable.
  explicit ImageWriter(const UniqueFd& file);

  // Whole pages. Returns the offset in the file at which they lie. Errors: unavailable when the disk is full.
  Result<std::uint64_t> append(std::span<const std::byte> pages);
  // image.pages_bytes is set here. Returns the size of the file.
  Result<std::uint64_t> finish(Image& image);

 private:
  Status flush();

  const UniqueFd& file_;
  std::uint64_t end_ = kPageBytes;
  std::vector<std::byte> chunk_;  // not yet written
  std::vector<Digest> digests_;
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

// All of `into`, or corrupt when the file ends before.
Status read_exactly(const UniqueFd& file, std::span<std::byte> into, std::uint64_t offset);

// Of this machine, now.
Result<Fingerprint> this_machine();

}  // namespace thaw::snapshot
