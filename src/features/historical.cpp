#include "features/historical.h"

#include <algorithm>
#include <limits>
#include <set>

#include "base/csv_text.h"
#include "features/entity_key.h"
#include "features/row_codec.h"

namespace thaw::features {
namespace {

constexpr std::size_t kWriteBytes = 64 << 10;
constexpr std::int64_t kTimeMin = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kTimeMax = std::numeric_limits<std::int64_t>::max();

Error cancelled_error() { return {ErrorKind::conflict, "the historical features were cancelled"}; }

// Rows of entities, one by one, with their keys of each view.
class Entities {
 public:
  static Result<Entities> open(const HistoricalRequest& request, const HistoricalParts& parts) {
    Entities entities(request);
    ASSIGN_OR_RETURN(entities.reader_, parts.open_entities());
    ASSIGN_OR_RETURN(entities.time_column_, entities.place_of(kEventTimestamp));
    for (const HistoricalView& one : request.views) {
      std::vector<std::size_t>& places = entities.key_columns_.emplace_back();
      for (const EntityKey& entity : one.view.entities) {
        ASSIGN_OR_RETURN(const std::size_t place, entities.place_of(entity.name));
        places.push_back(place);
      }
    }
    return entities;
  }

  const std::vector<std::string>& columns() const { return reader_->columns(); }
  const ports::TableRow& cells() const { return cells_; }
  std::int64_t time_us() const { return time_us_; }

  Result<bool> next() {
    ASSIGN_OR_RETURN(const bool more, reader_->next(cells_));
    if (!more) return false;
    const auto time_us = time_of_cell(cells_[time_column_], CellRules{}.timestamp_unit_us);
    if (!time_us.ok()) return error(time_column_, time_us.error());
    if (!*time_us) return error(time_column_, invalid_argument("it is empty: each row needs its time"));
    time_us_ = **time_us;
    return true;
  }

  // Of one view; nothing when a part of the key is missing.
  Result<std::optional<std::string>> key(std::size_t view) {
    const std::vector<EntityKey>& entities = request_->views[view].view.entities;
    values_.clear();
    for (std::size_t i = 0; i < entities.size(); ++i) {
      const std::size_t column = key_columns_[view][i];
      auto value = value_of_cell(cells_[column], entities[i].type, {.bytes_are_base64 = true});
      if (!value.ok()) return error(column, value.error());
      if (std::holds_alternative<std::monostate>(*value)) return std::optional<std::string>();
      values_.push_back(std::move(*value));
    }
    auto key = encode_entity_key(entities, values_);
    if (!key.ok()) return error(key_columns_[view][0], key.error());
    return std::optional<std::string>(std::move(*key));
  }

 private:
  explicit Entities(const HistoricalRequest& request) : request_(&request) {}

  Result<std::size_t> place_of(std::string_view name) const {
    const auto& columns = reader_->columns();
    const auto found = std::find(columns.begin(), columns.end(), name);
    if (found == columns.end()) return invalid_argument("the rows of entities have no column " + std::string(name));
    return static_cast<std::size_t>(found - columns.begin());
  }
  Error error(std::size_t column, const Error& what) const {
    return {what.kind, "row " + std::to_string(reader_->row_number()) + " of the entities, column " +
                           reader_->columns()[column] + ": " + what.message};
  }

  const HistoricalRequest* request_;
  std::unique_ptr<ports::TableReader> reader_;
  std::size_t time_column_ = 0;
  std::vector<std::vector<std::size_t>> key_columns_;  // of each view
  ports::TableRow cells_;
  std::vector<model::FeatureValue> values_;
  std::int64_t time_us_ = 0;
};

// What is known of one view between the steps.
struct ViewState {
  std::unique_ptr<ports::RowSpool> wanted;  // the keys of the rows of entities
  std::unique_ptr<ports::RowSpool> rows;    // those of the source with such a key
  std::vector<model::FeatureField> fields;  // those that are wanted
  std::vector<FeatureSlot> slots;
  std::int64_t ttl_us = 0;  // 0: rows never get too old
};

struct Times {
  std::int64_t first_us = kTimeMax;
  std::int64_t last_us = kTimeMin;
};

Result<std::vector<ViewState>> make_states(const HistoricalRequest& request, const HistoricalParts& parts) {
  std::vector<ViewState> states;
  for (const HistoricalView& one : request.views) {
    ViewState state;
    ASSIGN_OR_RETURN(state.wanted, parts.make_spool(ports::SpoolKeeps::latest));
    ASSIGN_OR_RETURN(state.rows, parts.make_spool(ports::SpoolKeeps::history));
    for (const std::size_t feature : one.features) state.fields.push_back(one.view.features[feature]);
    state.slots = feature_slots(state.fields);
    state.ttl_us = static_cast<std::int64_t>(one.view.ttl_s) * 1'000'000;
    states.push_back(std::move(state));
  }
  return states;
}

Status check_columns(const HistoricalRequest& request, const std::vector<std::string>& columns,
                     std::vector<std::string>& names) {
  std::set<std::string, std::less<>> taken(columns.begin(), columns.end());
  for (const HistoricalView& one : request.views) {
    for (const std::size_t feature : one.features) {
      const std::string& name = one.view.features[feature].name;
      names.push_back(request.full_feature_names ? one.view.name + "__" + name : name);
      if (!taken.insert(names.back()).second)
        return invalid_argument("two columns of the answer would be called " + names.back() +
                                ": ask for full feature names, or rename the column of the entities");
    }
  }
  return {};
}

Result<Times> collect_wanted(const HistoricalRequest& request, const HistoricalParts& parts,
                             std::vector<ViewState>& states, std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(Entities entities, Entities::open(request, parts));
  RETURN_IF_ERROR(check_columns(request, entities.columns(), names));
  Times times;
  while (true) {
    if (parts.cancelled) return cancelled_error();
    ASSIGN_OR_RETURN(const bool more, entities.next());
    if (!more) return times;
    times.first_us = std::min(times.first_us, entities.time_us());
    times.last_us = std::max(times.last_us, entities.time_us());
    for (std::size_t view = 0; view < states.size(); ++view) {
      ASSIGN_OR_RETURN(std::optional<std::string> key, entities.key(view));
      if (key) RETURN_IF_ERROR(states[view].wanted->put({.key = std::move(*key)}));
    }
  }
}

Status collect_rows(const HistoricalView& one, const HistoricalParts& parts, Times times, ViewState& state) {
  // A time far before or behind all others makes no overflow.
  const std::int64_t from_us =
      state.ttl_us == 0 || times.first_us < kTimeMin + state.ttl_us ? kTimeMin : times.first_us - state.ttl_us;
  const std::int64_t until_us = times.last_us == kTimeMax ? kTimeMax : times.last_us + 1;
  ASSIGN_OR_RETURN(ViewRows rows, ViewRows::open(one.view, parts.open_source,
                                                 {.features = one.features, .from_us = from_us, .until_us = until_us}));
  ViewRow row;
  while (true) {
    if (parts.cancelled) return cancelled_error();
    ASSIGN_OR_RETURN(const bool more, rows.next(row));
    if (!more) return {};
    ASSIGN_OR_RETURN(const auto wanted, state.wanted->latest(row.key, 0, 0));
    if (!wanted) continue;
    ASSIGN_OR_RETURN(std::string value, encode_row(state.slots, row.values));
    RETURN_IF_ERROR(state.rows->put({row.key, row.event_us, row.created_us, std::move(value)}));
  }
}

Status append_features(std::string& line, const std::optional<std::string>& key, std::int64_t time_us,
                       ViewState& state) {
  std::vector<Cell> cells(state.fields.size());
  if (key) {
    const std::int64_t from_us =
        state.ttl_us == 0 || time_us < kTimeMin + state.ttl_us ? kTimeMin : time_us - state.ttl_us;
    ASSIGN_OR_RETURN(const auto row, state.rows->latest(*key, from_us, time_us));
    if (row) RETURN_IF_ERROR(decode_row(row->value, state.slots, cells));
  }
  for (std::size_t i = 0; i < cells.size(); ++i) {
    line += ',';
    append_csv_field(line, text_of_value(cells[i].value, state.fields[i].type));
  }
  return {};
}

// A cell of the entities, as it came.
std::optional<std::string> text_of_cell(const ports::Cell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* flag = std::get_if<bool>(&cell)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<std::int64_t>(&cell)) return std::to_string(*number);
  if (const auto* number = std::get_if<double>(&cell))
    return text_of_value(*number, {.scalar = model::FeatureScalar::float64});
  return std::nullopt;
}

Status write_rows(const HistoricalRequest& request, const HistoricalParts& parts, std::vector<ViewState>& states,
                  const std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(Entities entities, Entities::open(request, parts));
  std::string text;
  for (const std::string& column : entities.columns()) {
    if (!text.empty()) text += ',';
    append_csv_field(text, column);
  }
  for (const std::string& name : names) {
    text += ',';
    append_csv_field(text, name);
  }
  text += '\n';
  while (true) {
    if (parts.cancelled) return cancelled_error();
    ASSIGN_OR_RETURN(const bool more, entities.next());
    if (!more) break;
    for (std::size_t i = 0; i < entities.cells().size(); ++i) {
      if (i > 0) text += ',';
      append_csv_field(text, text_of_cell(entities.cells()[i]));
    }
    for (std::size_t view = 0; view < states.size(); ++view) {
      ASSIGN_OR_RETURN(const std::optional<std::string> key, entities.key(view));
      RETURN_IF_ERROR(append_features(text, key, entities.time_us(), states[view]));
    }
    text += '\n';
    if (text.size() < kWriteBytes) continue;
    RETURN_IF_ERROR(parts.write(text));
    text.clear();
  }
  return parts.write(text);
}

}  // namespace

Result<std::vector<HistoricalView>> historical_views(const Definitions& definitions,
                                                     const std::vector<FeatureReference>& references) {
  std::vector<HistoricalView> views;
  for (const FeatureReference& reference : references) {
    const auto found = definitions.views.find(reference.view);
    if (found == definitions.views.end())
      return Error{ErrorKind::not_found, "there is no feature view \"" + reference.view + "\""};
    const auto& features = found->second.features;
    const auto feature = std::find_if(features.begin(), features.end(),
                                      [&](const model::FeatureField& one) { return one.name == reference.feature; });
    if (feature == features.end())
      return Error{ErrorKind::not_found,
                   "feature view \"" + reference.view + "\" has no feature \"" + reference.feature + "\""};
    auto view = std::find_if(views.begin(), views.end(),
                             [&](const HistoricalView& one) { return one.view.name == reference.view; });
    if (view == views.end()) view = views.insert(views.end(), {.view = found->second});
    view->features.push_back(static_cast<std::size_t>(feature - features.begin()));
  }
  if (views.empty()) return invalid_argument("features: name at least one, like VIEW:FEATURE");
  return views;
}

Status write_historical(const HistoricalRequest& request, const HistoricalParts& parts) {
  std::vector<std::string> names;
  ASSIGN_OR_RETURN(std::vector<ViewState> states, make_states(request, parts));
  ASSIGN_OR_RETURN(const Times times, collect_wanted(request, parts, states, names));
  for (std::size_t view = 0; view < states.size() && times.first_us <= times.last_us; ++view)
    RETURN_IF_ERROR(collect_rows(request.views[view], parts, times, states[view]));
  return write_rows(request, parts, states, names);
}

}  // namespace thaw::features
