#include "features/view_rows.h"

#include "features/entity_key.h"

namespace thaw::features {

Result<ViewRows> ViewRows::open(const FeatureView& view, const OpenSource& open_source,
                                const ViewRowsRequest& request) {
  if (!view.source)
    return invalid_argument("feature view " + view.name + " has no source: its rows come by push alone");
  const Source& source = *view.source;
  ViewRows rows(view, request);
  rows.rules_ = {.timestamp_unit_us = source.timestamp_unit_us, .bytes_are_base64 = source.kind == SourceKind::csv};
  ports::TableRequest table;
  for (const EntityKey& entity : view.entities) table.columns.push_back(column_of(source, entity.name));
  for (const std::size_t feature : request.features)
    table.columns.push_back(column_of(source, view.features[feature].name));
  rows.event_column_ = table.columns.size();
  table.columns.push_back(source.timestamp_field);
  if (!source.created_timestamp_field.empty()) table.columns.push_back(source.created_timestamp_field);
  table.bounds = ports::TimeBounds{.column = source.timestamp_field,
                                   .from_us = request.from_us,
                                   .until_us = request.until_us,
                                   .number_unit_us = source.timestamp_unit_us};
  auto reader = open_source(source, table);
  if (!reader.ok()) {
    Error& error = reader.error();
    return Error{error.kind, "source of feature view " + view.name + ": " + error.message, error.code};
  }
  rows.reader_ = std::move(*reader);
  return rows;
}

Error ViewRows::error(std::size_t column, const Error& what) const {
  return {what.kind, "feature view " + view_->name + ": row " + std::to_string(reader_->row_number()) +
                         " of its source, column " + reader_->columns()[column] + ": " + what.message};
}

Result<bool> ViewRows::next(ViewRow& row) {
  while (true) {
    auto more = reader_->next(cells_);
    if (!more.ok())
      return Error{more.error().kind, "source of feature view " + view_->name + ": " + more.error().message};
    if (!*more) return false;
    ++rows_read_;
    ASSIGN_OR_RETURN(const bool taken, take(row));
    if (taken) return true;
  }
}

// False for a row that is not wanted.
Result<bool> ViewRows::take(ViewRow& row) {
  const std::int64_t unit_us = rules_.timestamp_unit_us;
  const auto event_us = time_of_cell(cells_[event_column_], unit_us);
  if (!event_us.ok()) return error(event_column_, event_us.error());
  if (!*event_us) {
    ++rows_passed_over_;
    return false;
  }
  row.event_us = **event_us;
  if (row.event_us < request_.from_us || row.event_us >= request_.until_us) return false;
  row.created_us = 0;
  if (event_column_ + 1 < cells_.size()) {
    const auto created_us = time_of_cell(cells_[event_column_ + 1], unit_us);
    if (!created_us.ok()) return error(event_column_ + 1, created_us.error());
    row.created_us = created_us->value_or(0);
  }
  keys_.clear();
  for (std::size_t i = 0; i < view_->entities.size(); ++i) {
    auto key = value_of_cell(cells_[i], view_->entities[i].type, rules_);
    if (!key.ok()) return error(i, key.error());
    if (std::holds_alternative<std::monostate>(*key)) {
      ++rows_passed_over_;
      return false;
    }
    keys_.push_back(std::move(*key));
  }
  auto key = encode_entity_key(view_->entities, keys_);
  if (!key.ok()) return error(0, key.error());
  row.key = std::move(*key);
  row.values.clear();
  for (std::size_t i = 0; i < request_.features.size(); ++i) {
    const std::size_t column = view_->entities.size() + i;
    auto value = value_of_cell(cells_[column], view_->features[request_.features[i]].type, rules_);
    if (!value.ok()) return error(column, value.error());
    row.values.push_back(std::move(*value));
  }
  return true;
}

}  // namespace thaw::features
