// Rows of a feature view as its source's table has them, to be appended there.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "features/feature_store.h"

namespace thaw::features {

struct SourceRows {
  std::vector<std::string> columns;
  // An array of objects with the columns as members: times as ISO 8601, lists as arrays, bytes as "\x" and hexadecimal
  // digits, NaN and the infinities as texts.
  std::string json;
};

// How programs append: all rows or none. Errors: invalid_argument where the source can only be read.
using AppendToSource = std::function<Status(const Source& source, const SourceRows& rows)>;

// The view must have a source. Rows whose making is not known are made now. Errors: invalid_argument where the source
// cannot hold a type of the view's.
Result<SourceRows> source_rows(const FeatureView& view, std::span<const FeatureRow> rows);

}  // namespace thaw::features
