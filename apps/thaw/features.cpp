// `thaw features`.
#include <unistd.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cstdio>

#include "api.h"
#include "base/sys.h"
#include "features_command.h"
#include "features_rows.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr const char* kTarget = "/thaw/v1/features";
constexpr std::size_t kFileBytesMax = 8 << 20;  // of definitions, as the daemon has it
// Of one push: the daemon takes more, so that a batch is never the reason of a refusal.
constexpr std::size_t kBatchRowsMax = 10'000;
constexpr std::size_t kBatchBytesMax = 4 << 20;

struct Kind {
  const char* name;     // as people say it
  const char* array;    // in the list of all
  const char* segment;  // of the API's path
};
constexpr Kind kKinds[] = {{"view", "feature_view", "views"},
                           {"service", "feature_service", "services"},
                           {"push-source", "push_source", "push-sources"}};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

const json::array& array_field(const json::object& object, std::string_view key) {
  static const json::array kNone;
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_array() ? value->get_array() : kNone;
}

std::string field_of(const json::value& value, std::string_view key) {
  return value.is_object() ? text_field(value.get_object(), key) : "";
}

// A string's, or the JSON of any other value, numbers in their usual form.
std::string text_of(const json::value& value) {
  if (const auto* number = value.if_double()) {
    char text[32];
    const auto [end, error] = std::to_chars(text, text + sizeof text, *number);
    return {text, end};
  }
  return value.is_string() ? std::string(std::string_view(value.get_string())) : json::serialize(value);
}

Result<std::string> read_text(const std::string& path) {
  if (path == "-") return sys::read_fd(UniqueFd(::dup(STDIN_FILENO)), kFileBytesMax, "standard input");
  return sys::read_file(path, kFileBytesMax);
}

Result<Response> post(Session& session, const std::string& target, std::string body, const std::string& type) {
  const std::size_t bytes = body.size();
  ASSIGN_OR_RETURN(Response response, session.client.send({.method = "POST",
                                                           .target = target,
                                                           .headers = {{"Content-Type", type}},
                                                           .body = body_of(std::move(body)),
                                                           .body_bytes = bytes}));
  if (!response.ok()) return error_of(response);
  return response;
}

Status apply(Session& session, const FeaturesOptions& options) {
  ASSIGN_OR_RETURN(std::string text, read_text(options.file));
  // No TOML text begins with a brace.
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  const bool is_json = options.file.ends_with(".json") || (begin != std::string::npos && text[begin] == '{');
  ASSIGN_OR_RETURN(const Response response, post(session, std::string(kTarget) + (options.force ? "?force=1" : ""),
                                                 std::move(text), is_json ? "application/json" : "application/toml"));
  ASSIGN_OR_RETURN(const json::object answer, object_of(response));
  if (session.json()) {
    print_json(answer);
    return {};
  }
  for (const json::value& one : array_field(answer, "Applied")) {
    const json::value* dropped = one.is_object() ? one.get_object().if_contains("RowsDropped") : nullptr;
    print(session.terminal.out(Color::green, field_of(one, "Result")) + " " + field_of(one, "Kind") + " " +
          printable(field_of(one, "Name")) +
          (dropped != nullptr && dropped->is_bool() && dropped->get_bool() ? ", its rows are dropped" : "") + "\n");
  }
  return {};
}

std::string joined(const json::array& items, std::string_view key) {
  std::string text;
  for (const json::value& item : items) {
    if (!text.empty()) text += ", ";
    text += item.is_string() ? text_of(item) : field_of(item, key);
  }
  return text;
}

Status list(Session& session) {
  ASSIGN_OR_RETURN(const json::object all, get_object(session.client, kTarget));
  if (session.json()) {
    print_json(all);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"KIND", "NAME", "OF", "FEATURES", "TTL"}};
  for (const Kind& kind : kKinds) {
    for (const json::value& item : array_field(all, kind.array)) {
      if (!item.is_object()) continue;
      const json::object& one = item.get_object();
      const std::size_t features = array_field(one, "features").size();
      const std::uint64_t ttl = count_field(one, "ttl_s");
      rows.push_back({kind.name, text_field(one, "name"),
                      kind.array == std::string_view("push_source") ? text_field(one, "view")
                                                                    : joined(array_field(one, "entities"), "name"),
                      features == 0 ? "" : std::to_string(features), ttl == 0 ? "" : std::to_string(ttl) + " s"});
    }
  }
  print(rows.size() == 1 ? "no features are defined\n" : format_table(rows, session.terminal));
  return {};
}

struct Found {
  const Kind* kind = nullptr;
  json::object definition;
};

Result<Found> find(Session& session, const std::string& name, const std::string& kind_wanted) {
  ASSIGN_OR_RETURN(const json::object all, get_object(session.client, kTarget));
  Found found;
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) {
    if (!kind_wanted.empty() && kind_wanted != kind.name) continue;
    for (const json::value& item : array_field(all, kind.array)) {
      names.push_back(field_of(item, "name"));
      if (names.back() != name) continue;
      if (found.kind != nullptr)
        return invalid_argument("'" + printable(name) + "' is a " + found.kind->name + " and a " + kind.name +
                                ": say which with --kind");
      found = {&kind, item.get_object()};
    }
  }
  if (found.kind != nullptr) return found;
  return Error{ErrorKind::not_found,
               "there is no view, service or push source '" + printable(name) + "'" + did_you_mean(name, names)};
}

Status describe(Session& session, const FeaturesOptions& options) {
  ASSIGN_OR_RETURN(const Found found, find(session, options.name, options.kind));
  if (session.json()) {
    print_json(found.definition);
    return {};
  }
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const std::string& key, const std::string& value) {
    if (!value.empty()) rows.push_back({key, value});
  };
  add(found.kind->name, text_field(found.definition, "name"));
  add("description", text_field(found.definition, "description"));
  add("view", text_field(found.definition, "view"));
  for (const json::value& entity : array_field(found.definition, "entities"))
    add("entity", field_of(entity, "name") + " " + field_of(entity, "type"));
  if (const std::uint64_t ttl = count_field(found.definition, "ttl_s"); ttl > 0) add("ttl", std::to_string(ttl) + " s");
  for (const char* table : {"source", "vector"}) {
    for (const auto& field : object_field(found.definition, table)) {
      add(std::string(table) + " " + std::string(std::string_view(field.key())), text_of(field.value()));
    }
  }
  for (const json::value& feature : array_field(found.definition, "features")) {
    const std::string text = field_of(feature, "description");
    add("feature", feature.is_string() ? text_of(feature)
                                       : field_of(feature, "name") + " " + field_of(feature, "type") +
                                             (text.empty() ? "" : ": " + text));
  }
  print(format_table(rows, session.terminal));
  return {};
}

Status remove(Session& session, const FeaturesOptions& options) {
  ASSIGN_OR_RETURN(const Found found, find(session, options.name, options.kind));
  ASSIGN_OR_RETURN(const Response response,
                   session.client.send({.method = "DELETE",
                                        .target = std::string(kTarget) + "/" + found.kind->segment + "/" +
                                                  percent_encode(options.name)}));
  if (!response.ok()) return error_of(response);
  if (session.json()) {
    print_json({{"Deleted", json::array{options.name}}});
    return {};
  }
  print(session.terminal.out(Color::green, "deleted") + " " + found.kind->name + " " + printable(options.name) + "\n");
  return {};
}

// The types of entity keys and features by their names; of the view, or of all views where none is said.
ColumnTypes column_types(const json::object& all, const std::string& view) {
  ColumnTypes types;
  for (const json::value& item : array_field(all, "feature_view")) {
    if (!item.is_object() || (!view.empty() && field_of(item, "name") != view)) continue;
    for (const char* fields : {"entities", "features"}) {
      for (const json::value& field : array_field(item.get_object(), fields))
        types[field_of(field, "name")] = field_of(field, "type");
    }
  }
  types.emplace("event_timestamp", "UnixTimestamp");
  types.emplace("created", "UnixTimestamp");
  return types;
}

Status get(Session& session, const FeaturesOptions& options) {
  if (options.features.empty() == options.service.empty())
    return invalid_argument("name features as VIEW:FEATURE, or a service with --service");
  ASSIGN_OR_RETURN(const json::object all, get_object(session.client, kTarget));
  const ColumnTypes types = column_types(all, "");
  json::object entities;
  for (const std::string& entity : options.entities) {
    const std::size_t equals = entity.find('=');
    if (equals == std::string::npos || equals == 0)
      return invalid_argument("--entity '" + printable(entity) + "' must be KEY=VALUE");
    const std::string key = entity.substr(0, equals);
    const auto type = types.find(key);
    const auto column = entities.emplace(key, json::array()).first;
    column->value().get_array().push_back(
        typed_value(entity.substr(equals + 1), type == types.end() ? "String" : type->second));
  }
  json::object body{{"entities", std::move(entities)}, {"full_feature_names", options.full_names}};
  if (options.service.empty()) {
    body["features"] = json::array(options.features.begin(), options.features.end());
  } else {
    body["feature_service"] = options.service;
  }
  ASSIGN_OR_RETURN(const json::object answer, send_json(session.client, "POST", "/get-online-features", body));
  if (session.json()) {
    print_json(answer);
    return {};
  }
  std::vector<std::vector<std::string>> rows(1);
  for (const json::value& name : array_field(object_field(answer, "metadata"), "feature_names"))
    rows[0].push_back(text_of(name));
  for (const json::value& result : array_field(answer, "results")) {
    if (!result.is_object()) continue;
    const json::array& values = array_field(result.get_object(), "values");
    const json::array& statuses = array_field(result.get_object(), "statuses");
    rows.resize(std::max(rows.size(), values.size() + 1));
    for (std::size_t i = 0; i < values.size() && i < statuses.size(); ++i) {
      rows[i + 1].push_back(statuses[i] == "PRESENT" ? text_of(values[i]) : "(" + text_of(statuses[i]) + ")");
    }
  }
  print(format_table(rows, session.terminal));
  return {};
}

Status push(Session& session, const FeaturesOptions& options) {
  ASSIGN_OR_RETURN(const json::object all, get_object(session.client, kTarget));
  std::string view;
  for (const json::value& source : array_field(all, "push_source")) {
    if (field_of(source, "name") == options.name) view = field_of(source, "view");
  }
  const bool source = !view.empty();
  if (!source) view = options.name;
  ASSIGN_OR_RETURN(const auto rows, open_feature_rows(options.file, column_types(all, view)));
  std::uint64_t pushed = 0;
  while (true) {
    auto columns = rows->next(kBatchRowsMax, kBatchBytesMax);
    if (!columns.ok())
      return Error{columns.error().kind,
                   columns.error().message + "; " + std::to_string(pushed) + " rows before it were written"};
    if (columns->empty()) break;
    const std::size_t count = columns->begin()->value().get_array().size();
    const json::object body{{source ? "push_source_name" : "feature_view_name", options.name},
                            {"df", std::move(*columns)}};
    const auto response =
        post(session, source ? "/push" : "/write-to-online-store", json::serialize(body), "application/json");
    if (!response.ok())
      return Error{response.error().kind,
                   response.error().message + "; " + std::to_string(pushed) + " rows before these were written"};
    pushed += count;
  }
  if (session.json()) {
    print_json({{"Rows", pushed}});
    return {};
  }
  print(session.terminal.out(Color::green, "wrote") + " " + std::to_string(pushed) + (pushed == 1 ? " row" : " rows") +
        " of " + printable(view) + "\n");
  return {};
}

Status run(Session& session, FeaturesAction action, const FeaturesOptions& options) {
  switch (action) {
    case FeaturesAction::apply:
      return apply(session, options);
    case FeaturesAction::list:
      return list(session);
    case FeaturesAction::describe:
      return describe(session, options);
    case FeaturesAction::remove:
      return remove(session, options);
    case FeaturesAction::get:
      return get(session, options);
    case FeaturesAction::push:
      break;
  }
  return push(session, options);
}

}  // namespace

Result<std::vector<std::string>> definition_names(Client& client, const std::string& argument) {
  ASSIGN_OR_RETURN(const json::object all, get_object(client, kTarget));
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) {
    for (const json::value& item : array_field(all, kind.array)) {
      const std::string name = field_of(item, "name");
      const bool view = kind.array == std::string_view("feature_view");
      if (argument != "FEATURE") {
        if (argument != "SOURCE" || kind.array != std::string_view("feature_service")) names.push_back(name);
      } else if (view && item.is_object()) {
        for (const json::value& feature : array_field(item.get_object(), "features"))
          names.push_back(name + ":" + field_of(feature, "name"));
      }
    }
  }
  return names;
}

int run_features(Session& session, FeaturesAction action, const FeaturesOptions& options) {
  const Status done = run(session, action, options);
  return done.ok() ? kExitOk : report(session, done.error());
}

}  // namespace thaw::cli
