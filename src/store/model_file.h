// models/ID/model.json: what is known of a model in memory (docs/formats/model.md). Internal to src/store.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "store/model_memory.h"

namespace thaw::store {

inline constexpr std::size_t kModelFileBytesMax = 64 << 10;

struct ModelRecord {
  ModelInfo info;
  // Of the names, sizes, ETags and digests that the store gave; equal ones spare a fetch. Empty: the store gave nothing
  // that would tell a change.
  std::string fingerprint;
  std::string sha256;  // of a single file, where it was checked; else empty
  std::chrono::milliseconds fetch_took{0};
};

// The name of a model's folder: 32 hex digits of the SHA-256 of uri and digest.
std::string model_id(const std::string& uri, const std::string& digest);

std::string to_json(const ModelRecord& record);
// Errors: corrupt.
Result<ModelRecord> model_record(const std::string& json);

}  // namespace thaw::store
