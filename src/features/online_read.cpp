// The half of FeatureStore that reads.
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <unordered_set>

#include "features/compiled.h"
#include "features/entity_key.h"
#include "features/value_json.h"

namespace thaw::features {
namespace {

using model::FeatureValue;

// Rows of the online store that are held at a time. How large they are is known of those before alone.
constexpr std::size_t kFirstRows = 256;
constexpr std::size_t kRowBytesWanted = 32 << 20;

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string shown(std::string_view text) {
  return "'" + std::string(text.substr(0, 2 * model::kFeatureNameBytesMax)) + "'";
}

Error missing(std::string_view what, std::string_view name) {
  return {ErrorKind::not_found, "there is no " + std::string(what) + " " + shown(name)};
}

std::string_view status_text(FieldStatus status) {
  switch (status) {
    case FieldStatus::present:
      return "\"PRESENT\"";
    case FieldStatus::null_value:
      return "\"NULL_VALUE\"";
    case FieldStatus::outside_max_age:
      return "\"OUTSIDE_MAX_AGE\"";
    case FieldStatus::not_found:
      break;
  }
  return "\"NOT_FOUND\"";
}

FieldStatus status_of(CellState state, bool too_old) {
  if (too_old && state != CellState::absent) return FieldStatus::outside_max_age;
  switch (state) {
    case CellState::present:
      return FieldStatus::present;
    case CellState::null:
      return FieldStatus::null_value;
    case CellState::absent:
      break;
  }
  return FieldStatus::not_found;
}

Status check_entities(const OnlineRequest& request, std::size_t feature_count) {
  if (request.entities.empty()) return invalid_argument("entities: must name at least one entity key");
  const std::size_t count = request.entities.front().values.size();
  for (const EntityColumn& column : request.entities) {
    if (column.values.size() != count)
      return invalid_argument("entities: " + shown(column.name) + " has " + std::to_string(column.values.size()) +
                              " values, " + shown(request.entities.front().name) + " has " + std::to_string(count));
  }
  if (count > kEntitiesPerReadMax)
    return invalid_argument("entities: at most " + std::to_string(kEntitiesPerReadMax) + " values may come at once");
  if (count * feature_count > kCellsPerReadMax)
    return invalid_argument("entities: values times features may be at most " + std::to_string(kCellsPerReadMax));
  return {};
}

}  // namespace

// What is read of each view, and where it goes.
struct FeatureStore::Plan {
  struct View {
    const Compiled::View* compiled = nullptr;
    std::vector<FeatureSlot> slots;      // what is asked for; at: into columns
    std::vector<std::size_t> columns;    // of the answer
    std::vector<std::size_t> entity_at;  // into the request's columns, one for each entity key
  };
  std::vector<View> views;
  std::size_t entities = 0;
  std::int64_t now = 0;
};

Result<FeatureStore::Plan> FeatureStore::plan(const Compiled& compiled, const OnlineRequest& request,
                                              OnlineAnswer& answer) const {
  std::vector<FeatureReference> parsed;
  const std::vector<FeatureReference>* wanted = &parsed;
  if (!request.service.empty()) {
    const auto service = compiled.definitions.services.find(request.service);
    if (service == compiled.definitions.services.end()) return missing("feature service", request.service);
    wanted = &service->second.features;
  } else {
    parsed.reserve(request.features.size());
    for (const std::string& text : request.features) {
      auto reference = parse_reference(text);
      if (!reference.ok()) return invalid_argument("features: " + reference.error().message);
      parsed.push_back(std::move(*reference));
    }
  }
  if (wanted->empty())
    return invalid_argument("features: must name at least one feature, or feature_service a service");
  if (wanted->size() > kFeaturesPerReadMax)
    return invalid_argument("features: at most " + std::to_string(kFeaturesPerReadMax) + " may be asked for at once");
  RETURN_IF_ERROR(check_entities(request, wanted->size()));
  Plan plan;
  plan.entities = request.entities.front().values.size();
  // Views into the request and the answer, whose strings stay where they are.
  std::unordered_set<std::string_view> names;
  names.reserve(request.entities.size() + wanted->size());
  for (const EntityColumn& column : request.entities) {
    if (!compiled.entity_names.contains(column.name)) return missing("entity key", column.name);
    if (!names.insert(column.name).second)
      return invalid_argument("entities: " + shown(column.name) + " is there twice");
  }
  answer.features.reserve(wanted->size());
  for (const FeatureReference& reference : *wanted) {
    auto view = std::find_if(plan.views.begin(), plan.views.end(),
                             [&](const Plan::View& known) { return known.compiled->view->name == reference.view; });
    if (view == plan.views.end()) {
      const auto found = compiled.views.find(reference.view);
      if (found == compiled.views.end()) return missing("feature view", reference.view);
      view = plan.views.insert(plan.views.end(), Plan::View{.compiled = &found->second});
    }
    const auto slot = view->compiled->features.find(reference.feature);
    if (slot == view->compiled->features.end()) return missing("feature", reference.view + ":" + reference.feature);
    view->slots.push_back({slot->second.id, static_cast<std::uint32_t>(view->columns.size()), slot->second.type});
    view->columns.push_back(answer.features.size());
    OnlineColumn& column = answer.features.emplace_back();
    column.name = request.full_names ? reference.view + "__" + reference.feature : reference.feature;
    column.type = slot->second.type;
    column.view = static_cast<std::size_t>(view - plan.views.begin());
    if (!names.insert(column.name).second)
      return invalid_argument("features: " + shown(column.name) +
                              " would be there twice: name it once, or ask for full_feature_names");
  }
  for (Plan::View& view : plan.views) {
    std::sort(view.slots.begin(), view.slots.end(),
              [](const FeatureSlot& a, const FeatureSlot& b) { return a.id < b.id; });
    for (const EntityKey& entity : view.compiled->view->entities) {
      const auto column = std::find_if(request.entities.begin(), request.entities.end(),
                                       [&](const EntityColumn& given) { return given.name == entity.name; });
      if (column == request.entities.end())
        return invalid_argument("entities: " + shown(entity.name) + " is missing, which the feature view " +
                                shown(view.compiled->view->name) + " needs");
      view.entity_at.push_back(static_cast<std::size_t>(column - request.entities.begin()));
    }
  }
  return plan;
}

namespace {

Result<std::string> key_of(const FeatureView& view, const std::vector<std::size_t>& entity_at,
                           const OnlineRequest& request, std::size_t row) {
  std::vector<FeatureValue> values;
  values.reserve(view.entities.size());
  for (std::size_t i = 0; i < view.entities.size(); ++i) {
    const auto value = value_from_json(request.entities[entity_at[i]].values[row], view.entities[i].type);
    const bool null = value.ok() && std::holds_alternative<std::monostate>(*value);
    if (!value.ok() || null)
      return invalid_argument("entities: " + shown(view.entities[i].name) + "[" + std::to_string(row) + "] " +
                              (null ? "must not be null" : value.error().message));
    values.push_back(std::move(*value));
  }
  auto key = encode_entity_key(view.entities, values);
  if (!key.ok()) return invalid_argument("entities: " + key.error().message);
  return key;
}

bool is_too_old(const FeatureView& view, std::int64_t event_ms, std::int64_t now) {
  return view.ttl_s > 0 && now - event_ms > static_cast<std::int64_t>(view.ttl_s) * 1000;
}

}  // namespace

Result<bool> FeatureStore::read_into(const Plan& plan, const OnlineRequest& request, Waiting waiting,
                                     OnlineAnswer& answer) {
  for (OnlineColumn& column : answer.features) {
    column.statuses.resize(plan.entities, FieldStatus::not_found);
    column.values.resize(plan.entities);
  }
  answer.event_ms.assign(plan.views.size(), std::vector<std::int64_t>(plan.entities));
  answer.stale.resize(plan.views.size());
  std::vector<Cell> cells;
  std::size_t taken = 0;
  std::size_t rows_at_once = std::max<std::size_t>(1, kFirstRows / plan.views.size());
  for (std::size_t from = 0; from < plan.entities;) {
    const std::size_t to = std::min(plan.entities, from + rows_at_once);
    std::vector<std::string> encoded;
    std::vector<ports::OnlineKey> keys;
    encoded.reserve((to - from) * plan.views.size());
    keys.reserve(encoded.capacity());
    for (const Plan::View& view : plan.views) {
      for (std::size_t row = from; row < to; ++row) {
        ASSIGN_OR_RETURN(std::string key, key_of(*view.compiled->view, view.entity_at, request, row));
        encoded.push_back(std::move(key));
        keys.push_back({view.compiled->view->name, encoded.back()});
      }
    }
    std::vector<std::optional<ports::OnlineRow>> rows;
    if (waiting == Waiting::never) {
      auto known = online_.read_now(keys);
      if (!known) return false;
      rows = *std::move(known);
    } else {
      ASSIGN_OR_RETURN(rows, online_.read(keys));
    }
    std::size_t at = 0;
    std::size_t row_bytes = 0;
    for (std::size_t v = 0; v < plan.views.size(); ++v) {
      const Plan::View& view = plan.views[v];
      for (std::size_t row = from; row < to; ++row, ++at) {
        cells.assign(view.columns.size(), Cell());
        bool too_old = false;
        if (rows[at]) {
          row_bytes += rows[at]->value.size();
          ASSIGN_OR_RETURN(const std::size_t bytes, decode_row(rows[at]->value, view.slots, cells));
          taken += bytes;
          too_old = is_too_old(*view.compiled->view, rows[at]->event_ms, plan.now);
        }
        if (rows[at] && rows[at]->stale) {
          answer.stale[v].resize(plan.entities);
          answer.stale[v][row] = true;
        }
        answer.event_ms[v][row] = rows[at] ? rows[at]->event_ms : 0;
        for (std::size_t i = 0; i < view.columns.size(); ++i) {
          OnlineColumn& column = answer.features[view.columns[i]];
          column.statuses[row] = status_of(cells[i].state, too_old);
          if (column.statuses[row] == FieldStatus::present) column.values[row] = std::move(cells[i].value);
        }
      }
    }
    if (taken > kAnswerBytesMax)
      return Error{ErrorKind::too_large, "the values asked for have more than " +
                                             std::to_string(kAnswerBytesMax >> 20) + " MB: ask for fewer at once"};
    from = to;
    const std::size_t average = std::max<std::size_t>(1, row_bytes / std::max<std::size_t>(1, at));
    rows_at_once =
        std::max<std::size_t>(1, std::min(kRowBytesWanted / average, ports::kOnlineKeysMax) / plan.views.size());
  }
  return true;
}

Result<OnlineAnswer> FeatureStore::get_online(OnlineRequest request) {
  const auto all = compiled();
  OnlineAnswer answer;
  ASSIGN_OR_RETURN(Plan plan, this->plan(*all, request, answer));
  plan.now = now_ms();
  ASSIGN_OR_RETURN([[maybe_unused]] const bool read, read_into(plan, request, Waiting::allowed, answer));
  answer.entities = std::move(request.entities);
  return answer;
}

Result<std::optional<OnlineAnswer>> FeatureStore::get_online_now(const OnlineRequest& request) {
  const auto all = compiled();
  OnlineAnswer answer;
  ASSIGN_OR_RETURN(Plan plan, this->plan(*all, request, answer));
  plan.now = now_ms();
  ASSIGN_OR_RETURN(const bool read, read_into(plan, request, Waiting::never, answer));
  if (!read) return std::optional<OnlineAnswer>();
  answer.entities = request.entities;
  return std::optional(std::move(answer));
}

bool OnlineAnswer::any_stale() const {
  return std::any_of(stale.begin(), stale.end(), [](const auto& view) { return !view.empty(); });
}

std::size_t FeatureStore::rows_of(const OnlineRequest& request) const {
  const std::size_t entities = request.entities.empty() ? 0 : request.entities.front().values.size();
  std::size_t views = 0;
  std::string_view last;
  const auto count = [&](std::string_view view) {
    if (views == 0 || view != last) ++views;
    last = view;
  };
  if (request.service.empty()) {
    for (const std::string& feature : request.features) count(std::string_view(feature).substr(0, feature.find(':')));
    return entities * views;
  }
  const auto all = compiled();
  const auto service = all->definitions.services.find(request.service);
  if (service == all->definitions.services.end()) return 0;
  for (const FeatureReference& wanted : service->second.features) count(wanted.view);
  return entities * views;
}

std::string to_json(const OnlineAnswer& answer) {
  std::string out;
  const std::size_t rows = answer.entities.empty() ? 0 : answer.entities.front().values.size();
  out.reserve(64 + (answer.entities.size() + answer.features.size()) * (80 + rows * 56));
  out += "{\"metadata\":{\"feature_names\":[";
  for (std::size_t i = 0; i < answer.entities.size(); ++i) {
    if (i > 0) out += ',';
    append_quoted(out, answer.entities[i].name);
  }
  for (const OnlineColumn& column : answer.features) {
    out += ',';
    append_quoted(out, column.name);
  }
  out += "]},\"results\":[";
  const auto repeat = [&](std::string_view text) {
    for (std::size_t i = 0; i < rows; ++i) {
      if (i > 0) out += ',';
      out += text;
    }
  };
  for (std::size_t i = 0; i < answer.entities.size(); ++i) {
    out += i > 0 ? ",{\"values\":" : "{\"values\":";
    out += boost::json::serialize(answer.entities[i].values);
    out += ",\"statuses\":[";
    repeat("\"PRESENT\"");
    out += "],\"event_timestamps\":[";
    repeat("\"1970-01-01T00:00:00Z\"");
    out += "]}";
  }
  // Each view's times once: its features share them.
  std::vector<std::string> times;
  for (const auto& event_ms : answer.event_ms) {
    std::string& text = times.emplace_back();
    for (std::size_t i = 0; i < rows; ++i) {
      if (i > 0) text += ',';
      append_time(text, event_ms[i]);
    }
  }
  for (const OnlineColumn& column : answer.features) {
    out += ",{\"values\":[";
    for (std::size_t i = 0; i < rows; ++i) {
      if (i > 0) out += ',';
      append_value(out, column.values[i], column.type);
    }
    out += "],\"statuses\":[";
    for (std::size_t i = 0; i < rows; ++i) {
      if (i > 0) out += ',';
      out += status_text(column.statuses[i]);
    }
    out += "],\"event_timestamps\":[";
    out += times[column.view];
    out += ']';
    if (column.view < answer.stale.size() && !answer.stale[column.view].empty()) {
      out += ",\"stale\":[";
      for (std::size_t i = 0; i < rows; ++i) {
        if (i > 0) out += ',';
        out += answer.stale[column.view][i] ? "true" : "false";
      }
      out += ']';
    }
    out += '}';
  }
  out += "]}";
  return out;
}

}  // namespace thaw::features
