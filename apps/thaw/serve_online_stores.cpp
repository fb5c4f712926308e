#include "serve_online_stores.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "adapters/postgres/online_store.h"
#include "adapters/redis/online_store.h"
#include "adapters/sqlite/online_store.h"

namespace thaw::cli {
namespace {

using Store = std::unique_ptr<ports::OnlineStore>;

bool is_redis(const std::string& url) { return url.starts_with("redis"); }
bool is_postgres(const std::string& url) { return url.starts_with("postgresql://") || url.starts_with("postgres://"); }

Error of_key(std::string_view key, const Error& error) {
  return {ErrorKind::invalid_argument, std::string(key) + ": " + error.message};
}

Result<Store> open_embedded(const std::string& path) {
  adapters::EmbeddedOnlineStoreOptions options;
  options.readers = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, 16);
  return adapters::open_embedded_online_store(path, options);
}

Result<Store> open_redis(std::string_view key, const std::string& url, const ServeConfig& config,
                         const std::string& prefix) {
  auto address = adapters::parse_redis_address(url);
  if (!address.ok()) return of_key(key, address.error());
  return adapters::open_redis_online_store(
      {.address = *std::move(address),
       .prefix = prefix,
       .command_timeout = std::chrono::milliseconds(config.features_store_timeout_ms)});
}

Result<Store> open_postgres(const ServeConfig& config) {
  auto store = adapters::open_postgres_online_store(
      {.url = config.features_online_store,
       .command_timeout = std::chrono::milliseconds(config.features_store_timeout_ms)});
  if (!store.ok()) return of_key("features_online_store", store.error());
  return store;
}

}  // namespace

Result<ServeOnlineStore> open_online_store(const ServeConfig& config, const std::string& embedded_path) {
  ServeOnlineStore opened;
  const std::string& what = config.features_online_store;
  if (!config.features_cache.empty() && !is_postgres(what))
    return invalid_argument("features_cache: is for features_online_store = \"postgresql://...\" alone");
  if (what == "embedded") {
    opened.in_process = true;
    ASSIGN_OR_RETURN(opened.store, open_embedded(embedded_path));
    return opened;
  }
  if (is_redis(what)) {
    ASSIGN_OR_RETURN(opened.store, open_redis("features_online_store", what, config, "thaw:online:"));
  } else if (is_postgres(what)) {
    ASSIGN_OR_RETURN(opened.store, open_postgres(config));
  } else {
    return invalid_argument(
        "features_online_store: must be embedded, or an address that begins with redis://, "
        "redis+unix:// or postgresql://");
  }
  const std::chrono::seconds ttl(config.features_cache_ttl_s);
  const std::chrono::seconds negative_ttl(config.features_cache_negative_ttl_s);
  if (!config.features_cache.empty()) {
    ASSIGN_OR_RETURN(Store cache, open_redis("features_cache", config.features_cache, config, "thaw:cache:"));
    auto shared = std::make_unique<features::SharedCacheStore>(
        std::move(cache), std::move(opened.store),
        features::SharedCacheSettings{.ttl = ttl, .negative_ttl = negative_ttl});
    opened.shared = shared.get();
    opened.store = std::move(shared);
  }
  if (config.features_cache_mb > 0) {
    features::ReadThroughSettings settings;
    settings.bytes_max = static_cast<std::size_t>(config.features_cache_mb) << 20;
    settings.ttl = ttl;
    settings.negative_ttl = negative_ttl;
    settings.stale = std::chrono::seconds(config.features_cache_stale_s);
    settings.wait_max = 2 * std::chrono::milliseconds(config.features_store_timeout_ms) + std::chrono::seconds(2);
    auto cache = std::make_unique<features::ReadThroughStore>(std::move(opened.store), std::move(settings));
    opened.cache = cache.get();
    opened.store = std::move(cache);
  }
  return opened;
}

boost::json::object ServeOnlineStore::status() const {
  boost::json::object status{{"online_store", store->name()}};
  if (cache != nullptr) {
    const features::ReadThroughCounts counts = cache->counts();
    status["cache"] = {{"hits", counts.hits},
                       {"negative_hits", counts.negative},
                       {"misses", counts.misses},
                       {"waits", counts.waits},
                       {"stale", counts.stale},
                       {"loads", counts.loads},
                       {"failed_loads", counts.failures},
                       {"evictions", counts.evictions},
                       {"entries", counts.entries},
                       {"bytes", counts.bytes}};
  }
  if (shared != nullptr) {
    const features::SharedCacheCounts counts = shared->counts();
    status["shared_cache"] = {{"name", shared->cache_name()},
                              {"hits", counts.hits},
                              {"misses", counts.misses},
                              {"failures", counts.failures}};
  }
  return status;
}

}  // namespace thaw::cli
