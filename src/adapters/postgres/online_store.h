// An online store in one table of a PostgreSQL database, of the first schema of the user's search_path:
//
//   thaw_features_online (tbl text, key bytea, value bytea, event_ms bigint, created_ms bigint, expires_ms bigint,
//                         PRIMARY KEY (tbl, key))
//
// It is made where it is missing and the user may; else somebody makes it beforehand. Rows that have expired go while
// others are written. The server needs to be PostgreSQL 9.5 or newer.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "ports/online_store.h"

namespace thaw::adapters {

struct PostgresStoreSettings {
  // As libpq takes it: postgresql://USER:PASSWORD@HOST:5432/DATABASE?sslmode=require
  std::string url;
  std::size_t connections_max = 8;
  std::chrono::milliseconds connect_timeout{1000};
  std::chrono::milliseconds command_timeout{2000};
};

// Connects at its first use; then and whenever the server is away, calls end with unavailable.
// Errors: invalid_argument: the address.
Result<std::unique_ptr<ports::OnlineStore>> open_postgres_online_store(PostgresStoreSettings settings);

}  // namespace thaw::adapters
