// Packages that lie in a bucket, as CreateFunction's Code.S3Bucket, S3Key and S3ObjectVersion name them.
//
// Threads: blocking; any. Errors: invalid_argument in Lambda's words for what the bucket says; unavailable, too_large.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/json/object.hpp>

#include "base/result.h"
#include "model/function.h"
#include "ports/object_store.h"
#include "store/fetch.h"

namespace thaw::gateway {

struct BucketObject {
  std::string bucket;
  std::string key;
  std::string version;  // empty: the newest
};

// The bucket as of a version of its objects; empty: the newest.
using OpenBucket =
    std::function<Result<std::shared_ptr<ports::ObjectStore>>(const std::string& bucket, const std::string& version)>;

// Nothing where the code is not in a bucket.
Result<std::optional<BucketObject>> bucket_object_of(const boost::json::object& code);

// The object as a new file at path. state: ends it early.
Result<model::UploadedZip> fetch_zip(ports::ObjectStore& store, const BucketObject& object, const std::string& path,
                                     std::uint64_t bytes_max, store::FetchState& state);

}  // namespace thaw::gateway
