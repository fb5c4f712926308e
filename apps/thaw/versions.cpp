// `thaw publish`, `versions` and `alias`.
#include <boost/json/array.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <map>
#include <thread>

#include "api.h"
#include "commands.h"
#include "model/version.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr std::size_t kPagesMax = 1000;
constexpr std::chrono::milliseconds kFirstLookAgain{50};
constexpr std::chrono::milliseconds kLastLookAgain{500};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// A list of one function's things, page after page.
Result<std::vector<json::object>> list_of(Session& session, const std::string& target, const char* member) {
  std::vector<json::object> found;
  std::string marker;
  for (std::size_t page = 0; page < kPagesMax; ++page) {
    std::string next = target + "?MaxItems=1000";
    if (!marker.empty()) next += "&Marker=" + percent_encode(marker);
    ASSIGN_OR_RETURN(const json::object answer, get_object(session.client, next));
    const json::value* items = answer.if_contains(member);
    if (items == nullptr || !items->is_array())
      return Error{ErrorKind::internal, "the answer has another shape than expected: is this a thaw daemon?"};
    for (const json::value& item : items->get_array()) {
      if (item.is_object()) found.push_back(item.get_object());
    }
    const std::string after = text_field(answer, "NextMarker");
    if (after.empty() || after == marker) break;
    marker = after;
  }
  return found;
}

// "3" or "3, 25 % to 4".
std::string routing_text(const json::object& alias) {
  std::string text = text_field(alias, "FunctionVersion");
  for (const auto& [version, weight] : object_field(object_field(alias, "RoutingConfig"), "AdditionalVersionWeights")) {
    char percent[32];
    std::snprintf(percent, sizeof(percent), "%.4g", weight.is_number() ? weight.to_number<double>() * 100 : 0.0);
    text += std::string(", ") + percent + " % to " + std::string(version);
  }
  return text;
}

json::array array_of(const std::vector<json::object>& objects) { return json::array(objects.begin(), objects.end()); }

// Until the version's making is over. The daemon bounds it; interrupting the command does not interrupt it.
Result<json::object> wait_until_made(Session& session, const json::object& published) {
  const std::string name = text_field(published, "FunctionName") + ":" + text_field(published, "Version");
  json::object version = published;
  StatusLine line(session.terminal);
  const auto began = std::chrono::steady_clock::now();
  auto pause = kFirstLookAgain;
  while (text_field(version, "State") == "Pending") {
    const auto took = std::chrono::steady_clock::now() - began;
    const std::string step = text_field(object_field(object_field(version, "Thaw"), "SnapshotState"), "Making");
    line.show(
        "making the snapshot of " + name + ": " + (step.empty() ? "waiting" : step) + " (" +
        human_seconds(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(took).count())) +
        ")");
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kLastLookAgain);
    ASSIGN_OR_RETURN(const json::object answer, get_object(session.client, function_target(name)));
    version = object_field(answer, "Configuration");
  }
  return version;
}

Status publish(Session& session, const PublishOptions& options) {
  json::object body;
  if (!options.description.empty()) body["Description"] = options.description;
  ASSIGN_OR_RETURN(json::object version,
                   send_json(session.client, "POST", function_target(options.name) + "/versions", body));
  if (!options.no_wait) {
    ASSIGN_OR_RETURN(version, wait_until_made(session, version));
  }
  const std::string name = text_field(version, "FunctionName") + ":" + text_field(version, "Version");
  if (session.json()) print_json(version);
  if (text_field(version, "State") == "Failed") {
    return Error{ErrorKind::function_failed, "version " + name + " failed: " + text_field(version, "StateReason"),
                 text_field(version, "StateReasonCode")};
  }
  if (session.json()) return {};
  print(session.terminal.out(Color::green, "published") + " " + printable(name) + "\n");
  print("  " + printable(text_field(object_field(version, "Thaw"), "Url")) + "\n");
  if (const std::string snapshot = snapshot_text(version); !snapshot.empty())
    print("  snapshot: " + printable(snapshot) + "\n");
  return {};
}

Status versions(Session& session, const std::string& name) {
  ASSIGN_OR_RETURN(const std::vector<json::object> found,
                   list_of(session, function_target(name) + "/versions", "Versions"));
  if (session.json()) {
    print_json({{"Versions", array_of(found)}});
    return {};
  }
  ASSIGN_OR_RETURN(const std::vector<json::object> aliases,
                   list_of(session, function_target(name) + "/aliases", "Aliases"));
  std::map<std::string, std::string> names;  // of the aliases of a version
  const auto add = [&](const std::string& version, const std::string& alias) {
    names[version] += (names[version].empty() ? "" : ", ") + alias;
  };
  for (const json::object& alias : aliases) {
    add(text_field(alias, "FunctionVersion"), text_field(alias, "Name"));
    for (const auto& [version, weight] : object_field(object_field(alias, "RoutingConfig"), "AdditionalVersionWeights"))
      add(std::string(version), text_field(alias, "Name"));
  }
  std::vector<std::vector<std::string>> rows = {
      {"VERSION", "ALIASES", "STATE", "SNAPSHOT", "CODE", "MODIFIED", "DESCRIPTION"}};
  for (const json::object& version : found) {
    const std::string number = text_field(version, "Version");
    const json::object& snapshot = object_field(object_field(version, "Thaw"), "SnapshotState");
    const std::uint64_t bytes = count_field(snapshot, "Bytes");
    rows.push_back({number, names[number].empty() ? "-" : names[number], text_field(version, "State"),
                    bytes > 0 ? human_bytes(bytes) : (snapshot.empty() ? "-" : "none"),
                    text_field(version, "CodeSha256").substr(0, 12), text_field(version, "LastModified").substr(0, 19),
                    text_field(version, "Description")});
  }
  print(format_table(rows, session.terminal));
  return {};
}

// "2=0.1" as {"2": 0.1}.
Result<json::object> weights_of(const std::string& text) {
  const std::size_t equals = text.find('=');
  double weight = 0;
  const char* end = text.data() + text.size();
  if (equals != std::string::npos && model::version_number(text.substr(0, equals))) {
    const auto [at, error] = std::from_chars(text.data() + equals + 1, end, weight);
    if (error == std::errc() && at == end && weight >= 0 && weight <= 1)
      return json::object{{text.substr(0, equals), weight}};
  }
  return invalid_argument("--weight " + text + ": write VERSION=SHARE with a share from 0 to 1, like 2=0.1");
}

Status alias_set(Session& session, const AliasOptions& options) {
  json::object weights;
  if (!options.weight.empty()) {
    ASSIGN_OR_RETURN(weights, weights_of(options.weight));
  }
  json::object body = {{"FunctionVersion", options.version},
                       {"RoutingConfig", json::object{{"AdditionalVersionWeights", weights}}}};
  if (options.description) body["Description"] = *options.description;
  const std::string all = function_target(options.name) + "/aliases";
  const std::string one = all + "/" + percent_encode(options.alias);
  ASSIGN_OR_RETURN(const Response before, session.client.send({.target = one}));
  if (!before.ok() && before.status != 404) return error_of(before);
  if (!before.ok()) body["Name"] = options.alias;
  ASSIGN_OR_RETURN(const json::object alias,
                   send_json(session.client, before.ok() ? "PUT" : "POST", before.ok() ? one : all, body));
  if (session.json()) {
    print_json(alias);
    return {};
  }
  print(session.terminal.out(Color::green, before.ok() ? "updated" : "created") + " " +
        printable(options.name + ":" + text_field(alias, "Name") + " -> " + routing_text(alias)) + "\n");
  return {};
}

Status alias_list(Session& session, const std::string& name) {
  ASSIGN_OR_RETURN(const std::vector<json::object> aliases,
                   list_of(session, function_target(name) + "/aliases", "Aliases"));
  if (session.json()) {
    print_json({{"Aliases", array_of(aliases)}});
    return {};
  }
  if (aliases.empty()) {
    std::fputs("there is no alias yet; make one with: thaw alias set NAME ALIAS VERSION\n", stderr);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"ALIAS", "VERSION", "DESCRIPTION"}};
  for (const json::object& alias : aliases)
    rows.push_back({text_field(alias, "Name"), routing_text(alias), text_field(alias, "Description")});
  print(format_table(rows, session.terminal));
  return {};
}

Status alias_rm(Session& session, const AliasOptions& options) {
  ASSIGN_OR_RETURN(const Response response, session.client.send({.method = "DELETE",
                                                                 .target = function_target(options.name) + "/aliases/" +
                                                                           percent_encode(options.alias)}));
  if (!response.ok()) return error_of(response);
  if (session.json()) {
    print_json({{"Deleted", json::array{options.alias}}});
  } else {
    print(session.terminal.out(Color::green, "deleted") + " " + printable(options.name + ":" + options.alias) + "\n");
  }
  return {};
}

int finish(Session& session, const std::string& name, const Status& result) {
  return result.ok() ? kExitOk : report(session, with_suggestions(session.client, name, result.error()));
}

// These commands work on the function; a qualifier would be passed over.
Status check_unqualified(const std::string& name) {
  if (name.find(':') == std::string::npos) return {};
  return invalid_argument("NAME is a function's name alone here: leave " + name.substr(name.find(':')) + " away");
}

}  // namespace

int run_publish(Session& session, const PublishOptions& options) {
  Status result = check_unqualified(options.name);
  if (result.ok()) result = publish(session, options);
  return finish(session, options.name, result);
}

int run_versions(Session& session, const std::string& name) {
  Status result = check_unqualified(name);
  if (result.ok()) result = versions(session, name);
  return finish(session, name, result);
}

int run_alias(Session& session, AliasAction action, const AliasOptions& options) {
  Status result = check_unqualified(options.name);
  if (result.ok()) {
    result = action == AliasAction::set    ? alias_set(session, options)
             : action == AliasAction::list ? alias_list(session, options.name)
                                           : alias_rm(session, options);
  }
  return finish(session, options.name, result);
}

}  // namespace thaw::cli
