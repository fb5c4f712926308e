// The half of FeatureStore that writes.
#include <algorithm>
#include <chrono>

#include "features/compiled.h"
#include "features/entity_key.h"
#include "features/value_json.h"

namespace thaw::features {
namespace {

namespace json = boost::json;
using model::FeatureValue;

constexpr std::size_t kBatchBytesMax = 32 << 20;  // of the rows of one write to the online store

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string shown(std::string_view text) { return "'" + std::string(text) + "'"; }

// "2: …" becomes "'conv_rate': …".
Error named(const FeatureView& view, const Error& error) {
  const std::size_t colon = error.message.find(": ");
  std::size_t at = 0;
  if (colon == std::string::npos || colon > 4) return error;
  for (const char c : error.message.substr(0, colon)) {
    if (c < '0' || c > '9') return error;
    at = 10 * at + static_cast<std::size_t>(c - '0');
  }
  if (at >= view.features.size()) return error;
  return {error.kind, shown(view.features[at].name) + error.message.substr(colon)};
}

Status check_vector(const FeatureView& view, const FeatureRow& row) {
  if (!view.vector) return {};
  for (std::size_t i = 0; i < view.features.size(); ++i) {
    if (view.features[i].name != view.vector->feature) continue;
    const auto* numbers = std::get_if<std::vector<double>>(&row.values[i]);
    if (numbers != nullptr && numbers->size() != view.vector->dimensions)
      return invalid_argument(shown(view.vector->feature) + ": must have " + std::to_string(view.vector->dimensions) +
                              " numbers, as the view's vector says");
  }
  return {};
}

Result<ports::OnlineRow> encode(const FeatureView& view, std::span<const FeatureSlot> slots, const FeatureRow& row,
                                std::int64_t now) {
  ports::OnlineRow encoded;
  ASSIGN_OR_RETURN(encoded.key, encode_entity_key(view.entities, row.entities));
  auto value = encode_row(slots, row.values);
  if (!value.ok()) return named(view, value.error());
  encoded.value = std::move(*value);
  RETURN_IF_ERROR(check_vector(view, row));
  encoded.event_ms = row.event_ms;
  encoded.created_ms = row.created_ms == 0 ? now : row.created_ms;
  if (view.ttl_s > 0) {
    encoded.expires_ms = std::max(now, row.event_ms) + static_cast<std::int64_t>(view.ttl_s) * 1000 + kKeptBehindTtlMs;
  }
  return encoded;
}

// A column of the frame, as long as the others.
Result<const json::array*> column_of(const json::object& columns, std::string_view name, std::size_t rows) {
  const json::value* column = columns.if_contains(name);
  if (column == nullptr)
    return invalid_argument("df: the column " + shown(name) +
                            " is missing: rows come with all entity keys and features of their view, null where there "
                            "is no value");
  if (!column->is_array() || column->get_array().size() != rows)
    return invalid_argument("df: the column " + shown(name) + " must be an array of " + std::to_string(rows) +
                            " values, as long as the other columns");
  return &column->get_array();
}

Error in_column(std::string_view name, std::size_t row, const std::string& what) {
  return invalid_argument("df: " + shown(name) + "[" + std::to_string(row) + "] " + what);
}

// What the frame calls its time: as the view's source does, or event_timestamp.
std::string time_column(const json::object& columns, const FeatureView& view) {
  if (view.source && columns.contains(view.source->timestamp_field)) return view.source->timestamp_field;
  return std::string(kEventTimestamp);
}

Status read_times(const json::object& columns, const FeatureView& view, std::vector<FeatureRow>& rows) {
  const std::string time = time_column(columns, view);
  ASSIGN_OR_RETURN(const json::array* events, column_of(columns, time, rows.size()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto ms = time_from_json((*events)[i]);
    if (!ms.ok()) return in_column(time, i, ms.error().message);
    rows[i].event_ms = *ms;
  }
  const std::string made = view.source && columns.contains(view.source->created_timestamp_field)
                               ? view.source->created_timestamp_field
                               : std::string(kCreated);
  if (!columns.contains(made)) return {};
  ASSIGN_OR_RETURN(const json::array* created, column_of(columns, made, rows.size()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if ((*created)[i].is_null()) continue;
    const auto ms = time_from_json((*created)[i]);
    if (!ms.ok()) return in_column(made, i, ms.error().message);
    rows[i].created_ms = *ms;
  }
  return {};
}

Result<std::vector<FeatureRow>> rows_of_columns(const FeatureView& view, const json::object& columns) {
  const json::value* first = columns.if_contains(time_column(columns, view));
  if (first == nullptr || !first->is_array())
    return invalid_argument("df: the column " + shown(kEventTimestamp) + " must be an array of times");
  const std::size_t count = first->get_array().size();
  if (count > kRowsPerWriteMax)
    return invalid_argument("df: at most " + std::to_string(kRowsPerWriteMax) + " rows may come at once");
  std::vector<FeatureRow> rows(count);
  for (FeatureRow& row : rows) {
    row.entities.reserve(view.entities.size());
    row.values.reserve(view.features.size());
  }
  RETURN_IF_ERROR(read_times(columns, view, rows));
  for (const EntityKey& entity : view.entities) {
    ASSIGN_OR_RETURN(const json::array* column, column_of(columns, entity.name, count));
    for (std::size_t i = 0; i < count; ++i) {
      auto value = value_from_json((*column)[i], entity.type);
      if (!value.ok()) return in_column(entity.name, i, value.error().message);
      if (std::holds_alternative<std::monostate>(*value)) return in_column(entity.name, i, "must not be null");
      rows[i].entities.push_back(std::move(*value));
    }
  }
  for (const model::FeatureField& field : view.features) {
    ASSIGN_OR_RETURN(const json::array* column, column_of(columns, field.name, count));
    for (std::size_t i = 0; i < count; ++i) {
      auto value = value_from_json((*column)[i], field.type);
      if (!value.ok()) return in_column(field.name, i, value.error().message);
      rows[i].values.push_back(std::move(*value));
    }
  }
  return rows;
}

}  // namespace

Status FeatureStore::write_rows(const FeatureView& view, std::span<const FeatureRow> rows) {
  const std::shared_lock changing(changing_);
  const auto all = compiled();
  const auto current = all->views.find(view.name);
  if (current == all->views.end() || !(*current->second.view == view))
    return Error{ErrorKind::conflict, "the feature view " + shown(view.name) + " was changed meanwhile: try again"};
  if (!view.online)
    return invalid_argument("the feature view " + shown(view.name) + " is not online: its definition says so");
  const std::int64_t now = now_ms();
  std::vector<ports::OnlineRow> batch;
  std::size_t bytes = 0;
  const auto flush = [&]() -> Status {
    const Status written = online_.write(view.name, batch);
    // After an error any number of rows may be there.
    if (written.ok()) {
      indexes_.written(view, current->second.slots, batch);
    } else {
      indexes_.forget(view.name);
    }
    batch.clear();
    bytes = 0;
    return written;
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto encoded = encode(view, current->second.slots, rows[i], now);
    if (!encoded.ok()) return Error{encoded.error().kind, "row " + std::to_string(i) + ": " + encoded.error().message};
    if (batch.size() == ports::kOnlineKeysMax || bytes + encoded->value.size() > kBatchBytesMax)
      RETURN_IF_ERROR(flush());
    bytes += encoded->value.size();
    batch.push_back(std::move(*encoded));
  }
  return batch.empty() ? Status() : flush();
}

Result<std::vector<FeatureRow>> FeatureStore::rows_of(const FeatureView& view, const json::object& columns) {
  return rows_of_columns(view, columns);
}

Result<std::size_t> FeatureStore::write_columns(std::string_view name, const json::object& columns) {
  const auto all = definitions();
  const auto view = all->views.find(name);
  if (view == all->views.end())
    return Error{ErrorKind::not_found,
                 "there is no feature view " + shown(name.substr(0, model::kFeatureNameBytesMax))};
  ASSIGN_OR_RETURN(const auto rows, rows_of_columns(view->second, columns));
  RETURN_IF_ERROR(write_rows(view->second, rows));
  return rows.size();
}

Result<std::size_t> FeatureStore::push(std::string_view name, const json::object& columns) {
  const auto all = definitions();
  const auto source = all->push_sources.find(name);
  if (source == all->push_sources.end())
    return Error{ErrorKind::not_found, "there is no push source " + shown(name.substr(0, model::kFeatureNameBytesMax))};
  return write_columns(source->second.view, columns);
}

}  // namespace thaw::features
