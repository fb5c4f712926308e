// The online store of features that the configuration names, with the caches in front of it.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <string>

#include "base/result.h"
#include "config.h"
#include "features/read_through.h"
#include "features/shared_cache.h"
#include "ports/online_store.h"

namespace thaw::cli {

struct ServeOnlineStore {
  std::unique_ptr<ports::OnlineStore> store;
  // Within store; null where there is none.
  const features::ReadThroughStore* cache = nullptr;
  const features::SharedCacheStore* shared = nullptr;
  // Whether reads take no longer than the way to another thread and back.
  bool in_process = false;

  // Its name and its caches' counts.
  boost::json::object status() const;
};

// embedded_path: the file of the embedded store. A server that is away is no error.
// Errors: invalid_argument names the key.
Result<ServeOnlineStore> open_online_store(const ServeConfig& config, const std::string& embedded_path);

}  // namespace thaw::cli
