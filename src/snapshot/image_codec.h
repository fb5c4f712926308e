// Image to bytes and back. The reader trusts nothing: it never reads beyond the bytes, allocates no more than they can
// hold, and refuses what does not make sense as a process.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

inline constexpr std::size_t kMetadataBytesMax = 256ULL << 20;

std::string encode_image(const Image& image);
// Errors: corrupt, with the field that is wrong.
Result<Image> decode_image(std::span<const std::byte> bytes);

// The sense of an image, whatever it was read from: order and bounds of mappings, runs inside their mappings, threads,
// descriptors named once. pages_begin, pages_end: where the pages lie in the image file.
Status validate_image(const Image& image, std::uint64_t pages_begin, std::uint64_t pages_end);

}  // namespace thaw::snapshot
