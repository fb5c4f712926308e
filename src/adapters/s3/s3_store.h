// A bucket of S3, or of a server that speaks its protocol.
#pragma once

#include <memory>
#include <string>

#include "adapters/s3/settings.h"
#include "ports/object_store.h"

namespace thaw::adapters {

struct S3Bucket {
  std::string name;
  // Of the objects that are read; empty: the newest of each.
  std::string version = {};
};

// Ownership: keeps a copy of settings and its own connections. Errors: invalid_argument for a bucket that cannot be.
Result<std::shared_ptr<ports::ObjectStore>> open_s3_store(const S3Settings& settings, const S3Bucket& bucket,
                                                          const std::string& user_agent);

}  // namespace thaw::adapters
