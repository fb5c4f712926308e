// The latest rows of feature views, out of their sources into the online store.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/result.h"
#include "features/feature_store.h"
#include "features/view_rows.h"
#include "ports/row_spool.h"

namespace thaw::features {

// Of one view. Written by the thread that materializes, read by any.
struct MaterializeProgress {
  std::atomic<std::uint64_t> rows_read{0};         // of the source
  std::atomic<std::uint64_t> rows_passed_over{0};  // without an event time or an entity
  std::atomic<std::uint64_t> rows_written{0};      // to the online store, one an entity
};

struct MaterializeRange {
  std::int64_t from_us = 0;
  std::int64_t until_us = 0;  // not within
};

// What a view is materialized with. All outlive the call.
struct MaterializeParts {
  const OpenSource& open_source;
  const ports::MakeRowSpool& make_spool;
  FeatureStore& store;
};

// Of each entity with a row in the range the latest is written: of the last event time, then of the last creation, then
// the last in the source. Memory does not grow with the source; the latest rows are spooled to disk. What was written
// before an error, a cancellation or a crash stays, and to run it again writes the same. Blocks.
// Errors: those of ViewRows, RowSpool and FeatureStore::write_rows(); conflict when it was cancelled.
Status materialize(const FeatureView& view, const MaterializeRange& range, const MaterializeParts& parts,
                   MaterializeProgress& progress, const std::atomic<bool>& cancelled);

}  // namespace thaw::features
