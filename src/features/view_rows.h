// The rows of a feature view's source, as entities and values of features.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "features/cell_value.h"
#include "features/definitions.h"
#include "ports/table_reader.h"

namespace thaw::features {

// How programs give out tables: adapters are theirs.
using OpenSource = std::function<Result<std::unique_ptr<ports::TableReader>>(const Source& source,
                                                                             const ports::TableRequest& request)>;

// Opens a file as a table.
using MakeTable = std::function<Result<std::unique_ptr<ports::TableReader>>(const std::string& path)>;

struct ViewRow {
  std::string key;  // encode_entity_key()
  std::int64_t event_us = 0;
  std::int64_t created_us = 0;              // 0 where the source has none
  std::vector<model::FeatureValue> values;  // of the wanted features
};

struct ViewRowsRequest {
  // Places in the view's list of features.
  std::vector<std::size_t> features;
  // from_us <= event time < until_us
  std::int64_t from_us = 0;
  std::int64_t until_us = 0;
};

// Threads: one at a time. Errors: those of TableReader, and invalid_argument where a cell is not of its type: the
// message names view, row and column.
class ViewRows {
 public:
  // The view must have a source and outlive this.
  static Result<ViewRows> open(const FeatureView& view, const OpenSource& open_source, const ViewRowsRequest& request);

  // The next row within the times: false when there are no more. Rows without an event time or without an entity are
  // passed over.
  Result<bool> next(ViewRow& row);
  // Of the source, so far.
  std::uint64_t rows_read() const { return rows_read_; }
  std::uint64_t rows_passed_over() const { return rows_passed_over_; }

 private:
  ViewRows(const FeatureView& view, ViewRowsRequest request) : view_(&view), request_(std::move(request)) {}

  Result<bool> take(ViewRow& row);
  Error error(std::size_t column, const Error& what) const;

  const FeatureView* view_;
  ViewRowsRequest request_;
  CellRules rules_;
  std::unique_ptr<ports::TableReader> reader_;
  // The columns are the entity keys, the features, the event time, and when the row was made.
  std::size_t event_column_ = 0;
  ports::TableRow cells_;
  std::vector<model::FeatureValue> keys_;
  std::uint64_t rows_read_ = 0;
  std::uint64_t rows_passed_over_ = 0;
};

}  // namespace thaw::features
