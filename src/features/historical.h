// Point-in-time joins: what the features of entities were at moments of the past, for training.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "features/definitions.h"
#include "features/view_rows.h"
#include "ports/row_spool.h"
#include "ports/table_reader.h"

namespace thaw::features {

struct HistoricalView {
  FeatureView view;
  std::vector<std::size_t> features;  // those that are wanted: places in view.features
};

struct HistoricalRequest {
  std::vector<HistoricalView> views;
  // Columns of features are called VIEW__FEATURE, as Feast does it; FEATURE otherwise.
  bool full_feature_names = false;
};

// What the references ask for, in their order within each view. Errors: invalid_argument, not_found.
Result<std::vector<HistoricalView>> historical_views(const Definitions& definitions,
                                                     const std::vector<FeatureReference>& references);

struct HistoricalParts {
  // The rows of entities: their keys, event_timestamp, and any other columns. Called twice, for the same rows.
  std::function<Result<std::unique_ptr<ports::TableReader>>()> open_entities;
  const OpenSource& open_source;
  const ports::MakeRowSpool& make_spool;
  // Takes the answer, a part at a time.
  std::function<Status(std::string_view csv)> write;
  const std::atomic<bool>& cancelled;
};

// Writes CSV: a header, and a line for each row of entities, in their order: its columns as they are, and the features.
// A feature is the one of the entity's row with the latest event time T - ttl <= event time <= T, T being the
// event_timestamp of the row of entities; of those with the same event time the one that was created last, of those the
// last in the source. Without such a row, and where its value is null, the field is empty. Memory grows neither with
// the rows of entities nor with the sources: rows of the wanted entities are spooled to disk. Blocks. Errors: those of
// TableReader, ViewRows and RowSpool; invalid_argument names row and column; conflict when it was cancelled. What was
// written before an error is no answer.
Status write_historical(const HistoricalRequest& request, const HistoricalParts& parts);

}  // namespace thaw::features
