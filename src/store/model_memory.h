// Models in memory: files on Thaw's own tmpfs (huge pages), fetched from an object store once, shared read-only by
// every environment of the machine. They outlive environments and the daemon; a restart of the machine loses them.
//
//   FOLDER/models/ID/files/...    whole, never changed: what environments see at /opt/ml/model
//   FOLDER/models/ID/model.json   where it came from, its digest, its bytes
//   FOLDER/fetching/UUID/         on its way in; cleared by open()
//
// A model appears in models/ only by rename, so whatever is there is whole.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::store {

// The one bounded memory that models share with environments. Threads: any.
class MemoryBudget {
 public:
  virtual ~MemoryBudget() = default;
  // Takes bytes, making room where something idle can go. False when it does not fit.
  virtual bool take(std::uint64_t bytes) = 0;
  virtual void give_back(std::uint64_t bytes) = 0;
};

struct ModelSource {
  // s3://BUCKET/KEY, https://..., hf:OWNER/REPO/FILE, file:PATH; "package:CODE_SHA256/PATH" for one that lies in a
  // function's package. One that ends with "/" is a folder: every object below it.
  std::string uri;
  // Lower-case hex; what the contents must be. Empty: not known. Single files only.
  std::string sha256;
  // The digest of an earlier fetch; other contents are an error (conflict). Empty: whatever is there.
  std::string digest;
};

struct ModelInfo {
  std::string id;  // names the folder: a hash of uri and digest
  std::string uri;
  std::string digest;  // of names, sizes and contents; equal contents have equal digests
  std::string file;    // the single file's name; empty for a folder
  std::uint64_t bytes = 0;
  std::string etag;  // of a single object, as the store gave it
};

// Keeps the model in memory while it lives.
struct ModelHold {
  ModelInfo info;
  UniqueFd folder;  // O_PATH, of files/
  std::shared_ptr<const void> hold;
};

enum class ModelState : std::uint8_t { fetching, ready, failed };

struct ModelView {
  ModelInfo info;
  ModelState state = ModelState::ready;
  std::uint64_t fetched_bytes = 0;
  std::string error;  // of the last try, when failed
  std::uint32_t holds = 0;
  std::chrono::seconds unused{0};  // since the last hold went
  std::chrono::milliseconds fetch_took{0};
};

// Ownership: the folder; borrows budget and stores, which outlive it. Threads: every method from any; fetch() blocks.
class ModelMemory {
 public:
  // Keeps what an earlier daemon has left whole in the folder, and takes it from the budget.
  virtual ~ModelMemory() = default;

  // The model, fetched unless it is there; those who ask for one that is being fetched wait for the same fetch.
  // Errors: not_found (no bucket, no object), forbidden (credentials), too_large (does not fit into memory_max_mb),
  // conflict (the object has changed), corrupt (SHA-256), unavailable (connection, after retries), invalid_argument
  // (uri). Nothing stays in memory then.
  virtual Result<ModelHold> fetch(const ModelSource& source) = 0;
  virtual std::vector<ModelView> list() = 0;
  // By uri or id. Errors: not_found; conflict while it is held.
  virtual Status remove(const std::string& uri_or_id) = 0;

  // For whoever needs memory: when the model that is unused longest was used last; nothing when every one is held.
  virtual std::optional<std::chrono::steady_clock::time_point> oldest_unused() = 0;
  // Drops that one. False when there is none.
  virtual bool drop_oldest_unused() = 0;
};

}  // namespace thaw::store
