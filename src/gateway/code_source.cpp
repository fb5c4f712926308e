#include "gateway/code_source.h"

#include <fcntl.h>

#include <filesystem>
#include <vector>

#include "base/digest/sha256.h"
#include "base/sys.h"
#include "gateway/control_request.h"
#include "gateway/function_request.h"

namespace thaw::gateway {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;
constexpr std::size_t kVersionBytesMax = 1024;

// The caller waits, and may try again: fewer tries than a model gets.
store::FetchLimits fetch_limits() {
  store::FetchLimits limits;
  limits.connections = 4;
  limits.failures_max = 3;
  limits.failures_in_all_max = 8;
  limits.request_max = std::chrono::seconds(30);
  return limits;
}

// What the bucket refuses is the request's fault; that it cannot be reached is not.
Error bucket_error(const Error& error) {
  if (error.kind == ErrorKind::unavailable || error.kind == ErrorKind::timeout)
    return {ErrorKind::unavailable, "the package could not be read: " + error.message};
  const std::string_view code = error.kind == ErrorKind::not_found   ? "NoSuchKey"
                                : error.kind == ErrorKind::forbidden ? "AccessDenied"
                                                                     : "InvalidRequest";
  return invalid_argument("Error occurred while GetObject. S3 Error Code: " + std::string(code) +
                          ". S3 Error Message: " + error.message);
}

Result<std::string> file_digest(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd file, sys::open(path, O_RDONLY | O_NOFOLLOW));
  Sha256 hash;
  std::vector<char> piece(kPieceBytes);
  for (;;) {
    ASSIGN_OR_RETURN(const std::size_t count, sys::read_some(file, piece));
    if (count == 0) break;
    hash.update(std::string_view(piece.data(), count));
  }
  return hex(hash.finish());
}

}  // namespace

Result<std::optional<BucketObject>> bucket_object_of(const boost::json::object& code) {
  ASSIGN_OR_RETURN(const auto bucket, string_of(code, "S3Bucket"));
  ASSIGN_OR_RETURN(const auto key, string_of(code, "S3Key"));
  ASSIGN_OR_RETURN(const auto version, string_of(code, "S3ObjectVersion"));
  if (!bucket && !key && !version) return std::optional<BucketObject>();
  if (!bucket || !key) return invalid_argument("S3Bucket and S3Key belong together: both name the package");
  if (version && (version->empty() || version->size() > kVersionBytesMax))
    return validation_error("s3ObjectVersion", *version, "Member must have length from 1 to 1024");
  return std::optional<BucketObject>({.bucket = *bucket, .key = *key, .version = version.value_or("")});
}

Result<model::UploadedZip> fetch_zip(ports::ObjectStore& store, const BucketObject& object, const std::string& path,
                                     std::uint64_t bytes_max, store::FetchState& state) {
  const auto info = store::head_with_retries(store, object.key, fetch_limits(), state);
  if (!info.ok()) return bucket_error(info.error());
  if (info->bytes > bytes_max) {
    return invalid_argument("Unzipped size must be smaller than " + std::to_string(bytes_max) + " bytes (the zip has " +
                            std::to_string(info->bytes) + ")");
  }
  if (info->bytes == 0) return invalid_argument("Uploaded file must be a non-empty zip");
  const std::filesystem::path at(path);
  ASSIGN_OR_RETURN(const UniqueFd folder, sys::open(at.parent_path().string(), O_RDONLY | O_DIRECTORY));
  const store::FileToFetch file{.object = *info, .path = at.filename().string(), .sha256 = info->sha256};
  const auto fetched = store::fetch_files(store, {file}, folder, fetch_limits(), state);
  if (!fetched.ok()) return bucket_error(fetched.error());
  model::UploadedZip zip;
  ASSIGN_OR_RETURN(zip.sha256, file_digest(path));
  zip.bytes = info->bytes;
  return zip;
}

}  // namespace thaw::gateway
