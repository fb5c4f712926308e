// Provisioned concurrency, from the catalog to the pool: which versions are to have how many environments kept
// initialised. A setting of an alias is about the version that the alias names first.
//
// Ownership: borrows catalog and pool. Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "control/catalog.h"
#include "pool/pool.h"

namespace thaw::gateway {

class Provisioner {
 public:
  Provisioner(const control::Catalog& catalog, pool::Pool& pool) : catalog_(catalog), pool_(pool) {}

  // Tells the pool what the catalog says now. Called at start, and whenever a setting or an alias has changed.
  void follow();
  const pool::Pool& pool() const { return pool_; }
  pool::ProvisionView view(const model::FunctionRecord& version) const;

 private:
  struct Wanted {
    std::shared_ptr<const model::FunctionRecord> version;
    std::uint32_t count = 0;
  };
  using ByVersion = std::map<std::pair<std::string, std::string>, Wanted>;  // by the function's name and the version

  ByVersion wanted() const;

  const control::Catalog& catalog_;
  pool::Pool& pool_;
  std::mutex mutex_;  // before all of the pool's
  ByVersion told_;    // guarded by mutex_
};

}  // namespace thaw::gateway
