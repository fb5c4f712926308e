#include "snapshot/image_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/sys.h"
#include "snapshot/image_codec.h"

namespace thaw::snapshot {
namespace {

constexpr char kMagic[8] = {'T', 'H', 'A', 'W', 'I', 'M', 'G', '\n'};
constexpr std::size_t kChunksEach = 2;  // that each worker may be behind
constexpr std::uint64_t kFileBytesMax = 1ULL << 42;
constexpr std::size_t kCpuInfoBytesMax = 16 << 20;
constexpr std::size_t kBootIdBytesMax = 64;

struct Header {
  char magic[8] = {};
  std::uint32_t version = 0;
  std::uint32_t reserved = 0;
  std::uint64_t pages_end = 0;       // pages lie from kPageBytes to here
  std::uint64_t digests_bytes = 0;   // one SHA-256 for every kChunkBytes of pages, from pages_end on
  std::uint64_t metadata_bytes = 0;  // after them
  Digest digests_digest{};
  Digest metadata_digest{};
  Digest header_digest{};  // of everything above
};
static_assert(sizeof(Header) == 136 && std::is_trivially_copyable_v<Header>);

Error corrupt(std::string what) { return {ErrorKind::corrupt, "snapshot: " + std::move(what)}; }

Result<Digest> sha256(std::span<const std::byte> bytes) {
  Digest digest;
  unsigned size = digest.size();
  if (EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &size, EVP_sha256(),
                 nullptr) != 1) {
    return internal_error("SHA-256");
  }
  return digest;
}

template <class T>
std::span<const std::byte> bytes_of(const T& object, std::size_t size = sizeof(T)) {
  return {reinterpret_cast<const std::byte*>(&object), size};
}

enum class Checksums { compare, trust };

Result<Header> read_header(const UniqueFd& file, std::uint64_t base, Checksums checksums) {
  struct stat info;
  if (::fstat(file.get(), &info) != 0) return sys::errno_error("a snapshot");
  const auto whole = static_cast<std::uint64_t>(info.st_size);
  const std::uint64_t size = whole > base ? whole - base : 0;
  if (size < kPageBytes || size > kFileBytesMax) return corrupt("the size of the file");
  Header header;
  RETURN_IF_ERROR(read_exactly(file, {reinterpret_cast<std::byte*>(&header), sizeof(header)}, base));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) return corrupt("this is no snapshot, or not a whole one");
  if (header.version != kFormatVersion) {
    return Error{ErrorKind::unsupported, "snapshot: format " + std::to_string(header.version) +
                                             "; this Thaw reads format " + std::to_string(kFormatVersion)};
  }
  if (checksums == Checksums::compare) {
    ASSIGN_OR_RETURN(const Digest digest, sha256(bytes_of(header, offsetof(Header, header_digest))));
    if (digest != header.header_digest) return corrupt("the header's checksum");
  }
  if (header.pages_end < kPageBytes || header.pages_end > size || header.pages_end % kPageBytes != 0)
    return corrupt("pages_end");
  const std::uint64_t chunks = (header.pages_end - kPageBytes + kChunkBytes - 1) / kChunkBytes;
  if (header.digests_bytes != chunks * sizeof(Digest)) return corrupt("digests_bytes");
  if (header.metadata_bytes > kMetadataBytesMax ||
      header.pages_end + header.digests_bytes + header.metadata_bytes != size) {
    return corrupt("metadata_bytes");
  }
  return header;
}

Status write_all(const UniqueFd& file, std::span<const std::byte> bytes, std::uint64_t offset) {
  return sys::pwrite_all(file, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, static_cast<off_t>(offset));
}

}  // namespace

ImageWriter::ImageWriter(const UniqueFd& file, std::size_t threads) : file_(file), workers_(threads) {
  chunk_.reserve(kChunkBytes);
}

Result<std::uint64_t> ImageWriter::append(std::span<const std::byte> pages) {
  const std::uint64_t at = end_;
  while (!pages.empty()) {
    const std::size_t part = std::min(pages.size(), kChunkBytes - chunk_.size());
    chunk_.insert(chunk_.end(), pages.begin(), pages.begin() + static_cast<std::ptrdiff_t>(part));
    end_ += part;
    pages = pages.subspan(part);
    if (chunk_.size() < kChunkBytes) continue;
    hand_over();
    if (writing_.size() >= workers_.count() * kChunksEach) RETURN_IF_ERROR(collect_first());
  }
  return at;
}

void ImageWriter::hand_over() {
  const std::uint64_t start = end_ - chunk_.size();
  writing_.push_back(workers_.run([&file = file_, chunk = std::move(chunk_), at = start]() mutable -> Written {
    auto digest = sha256(chunk);
    const Status written = write_all(file, chunk, at);
    // Asks the disk to begin, so that the wait at the end is short; what it answers does not matter.
    ::sync_file_range(file.get(), static_cast<off64_t>(at), static_cast<off64_t>(chunk.size()), SYNC_FILE_RANGE_WRITE);
    if (!written.ok()) digest = written.error();
    return {std::move(digest), std::move(chunk)};
  }));
  if (idle_.empty()) {
    chunk_ = {};
    chunk_.reserve(kChunkBytes);
  } else {
    chunk_ = std::move(idle_.back());
    chunk_.clear();
    idle_.pop_back();
  }
}

Status ImageWriter::collect_first() {
  Written written = writing_.front().get();
  writing_.pop_front();
  idle_.push_back(std::move(written.buffer));
  ASSIGN_OR_RETURN(const Digest digest, std::move(written.digest));
  digests_.push_back(digest);
  return {};
}

Result<std::uint64_t> ImageWriter::finish(Image& image) {
  if (!chunk_.empty()) hand_over();
  while (!writing_.empty()) RETURN_IF_ERROR(collect_first());
  image.pages_bytes = end_ - kPageBytes;
  const std::string metadata = encode_image(image);
  if (metadata.size() > kMetadataBytesMax) return Error{ErrorKind::unsupported, "snapshot: too many mappings"};
  Header header;
  header.version = kFormatVersion;
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.pages_end = end_;
  header.digests_bytes = digests_.size() * sizeof(Digest);
  header.metadata_bytes = metadata.size();
  const std::span<const std::byte> digests(reinterpret_cast<const std::byte*>(digests_.data()), header.digests_bytes);
  const std::span<const std::byte> described(reinterpret_cast<const std::byte*>(metadata.data()), metadata.size());
  ASSIGN_OR_RETURN(header.digests_digest, sha256(digests));
  ASSIGN_OR_RETURN(header.metadata_digest, sha256(described));
  ASSIGN_OR_RETURN(header.header_digest, sha256(bytes_of(header, offsetof(Header, header_digest))));
  RETURN_IF_ERROR(write_all(file_, digests, end_));
  RETURN_IF_ERROR(write_all(file_, described, end_ + digests.size()));
  if (::fdatasync(file_.get()) != 0) return sys::errno_error("write a snapshot");
  RETURN_IF_ERROR(write_all(file_, bytes_of(header), 0));
  if (::fdatasync(file_.get()) != 0) return sys::errno_error("write a snapshot");
  return end_ + digests.size() + described.size();
}

Status read_exactly(const UniqueFd& file, std::span<std::byte> into, std::uint64_t offset) {
  while (!into.empty()) {
    const ssize_t count = ::pread(file.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return sys::errno_error("read a snapshot");
    if (count == 0) return corrupt("the file is cut off");
    into = into.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

namespace {

Result<Image> read_image_at(const UniqueFd& file, std::uint64_t base, Checksums checksums) {
  ASSIGN_OR_RETURN(const Header header, read_header(file, base, checksums));
  std::vector<std::byte> metadata(header.metadata_bytes);
  RETURN_IF_ERROR(read_exactly(file, metadata, base + header.pages_end + header.digests_bytes));
  if (checksums == Checksums::compare) {
    ASSIGN_OR_RETURN(const Digest digest, sha256(metadata));
    if (digest != header.metadata_digest) return corrupt("the metadata's checksum");
  }
  ASSIGN_OR_RETURN(Image image, decode_image(metadata));
  RETURN_IF_ERROR(validate_image(image, kPageBytes, header.pages_end));
  return image;
}

}  // namespace

Result<Image> read_image(const UniqueFd& file) { return read_image_at(file, 0, Checksums::compare); }

Result<Image> read_loaded_image(const UniqueFd& file, std::uint64_t base) {
  return read_image_at(file, base, Checksums::trust);
}

Result<ImageChunks> read_chunks(const UniqueFd& file) {
  ASSIGN_OR_RETURN(const Header header, read_header(file, 0, Checksums::compare));
  ImageChunks chunks;
  chunks.digests.resize(header.digests_bytes / sizeof(Digest));
  const std::span<std::byte> raw(reinterpret_cast<std::byte*>(chunks.digests.data()), header.digests_bytes);
  RETURN_IF_ERROR(read_exactly(file, raw, header.pages_end));
  ASSIGN_OR_RETURN(const Digest of_digests, sha256(raw));
  if (of_digests != header.digests_digest) return corrupt("the checksum of the checksums");
  chunks.pages_end = header.pages_end;
  chunks.file_bytes = header.pages_end + header.digests_bytes + header.metadata_bytes;
  chunks.around = {{{0, kPageBytes}, {header.pages_end, chunks.file_bytes - header.pages_end}}};
  return chunks;
}

Status read_chunk(const UniqueFd& file, const ImageChunks& chunks, std::size_t index, std::span<std::byte> into) {
  RETURN_IF_ERROR(read_exactly(file, into, kPageBytes + index * kChunkBytes));
  ASSIGN_OR_RETURN(const Digest digest, sha256(into));
  if (digest != chunks.digests[index]) return corrupt("the checksum of chunk " + std::to_string(index));
  return {};
}

Status verify_pages(const UniqueFd& file) {
  ASSIGN_OR_RETURN(const ImageChunks chunks, read_chunks(file));
  std::vector<std::byte> buffer(kChunkBytes);
  for (std::size_t chunk = 0; chunk < chunks.digests.size(); ++chunk) {
    const std::uint64_t left = chunks.pages_end - kPageBytes - chunk * kChunkBytes;
    RETURN_IF_ERROR(
        read_chunk(file, chunks, chunk, std::span(buffer).first(std::min<std::uint64_t>(left, kChunkBytes))));
  }
  return {};
}

Result<Fingerprint> this_machine() {
  utsname names;
  if (::uname(&names) != 0) return sys::errno_error("uname");
  ASSIGN_OR_RETURN(const std::string cpuinfo, sys::read_file("/proc/cpuinfo", kCpuInfoBytesMax));
  ASSIGN_OR_RETURN(const std::string boot, sys::read_file("/proc/sys/kernel/random/boot_id", kBootIdBytesMax));
  Fingerprint fingerprint{.kernel = std::string(names.release) + " " + names.version + " " + boot, .cpu_features = {}};
  const std::size_t from = cpuinfo.find("\nflags");
  if (from != std::string::npos)
    fingerprint.cpu_features = cpuinfo.substr(from + 1, cpuinfo.find('\n', from + 1) - from - 1);
  return fingerprint;
}

}  // namespace thaw::snapshot
