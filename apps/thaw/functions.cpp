// `thaw list`, `describe`, `delete`, `logs` and `status`.
#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cstdio>
#include <ctime>
#include <iostream>

#include "api.h"
#include "commands.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

// The list of functions has no environments; each function is asked for them while that stays quick.
constexpr std::size_t kEnvironmentsAskedMax = 200;
constexpr std::uint64_t kLogTailBytesMax = 4 << 20;

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// "2026-01-31T12:00:00.000+0000" as "3 min ago".
std::string age_of(const std::string& timestamp) {
  std::tm parts{};
  if (strptime(timestamp.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == nullptr) return timestamp;
  const std::time_t then = timegm(&parts);
  const std::time_t now = std::time(nullptr);
  if (then > now) return "just now";
  return human_seconds(static_cast<std::uint64_t>(now - then)) + " ago";
}

// "2 idle, 1 frozen", or "none".
std::string environments_text(const json::object& thaw) {
  const json::value* environments = thaw.if_contains("Environments");
  if (environments == nullptr || !environments->is_array()) return "-";
  std::string out;
  for (const char* state : {"starting", "busy", "idle", "frozen"}) {
    const auto count = std::count_if(
        environments->get_array().begin(), environments->get_array().end(),
        [&](const json::value& e) { return e.is_object() && text_field(e.get_object(), "State") == state; });
    if (count == 0) continue;
    if (!out.empty()) out += ", ";
    out += std::to_string(count) + " " + state;
  }
  return out.empty() ? "none" : out;
}

Status list(Session& session, const ListOptions& options) {
  std::vector<json::object> functions;
  RETURN_IF_ERROR(for_each_function(session.client, [&](const json::object& f) { functions.push_back(f); }));
  if (options.names_only) {
    for (const json::object& function : functions) print(printable(text_field(function, "FunctionName")) + "\n");
    return {};
  }
  if (session.json()) {
    print_json({{"Functions", json::array(functions.begin(), functions.end())}});
    return {};
  }
  if (functions.empty()) {
    std::fputs("nothing is deployed yet; begin with: thaw deploy FOLDER\n", stderr);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "RUNS", "MEMORY", "STATE", "ENVIRONMENTS", "UPDATED"}};
  for (const json::object& function : functions) {
    const std::string name = text_field(function, "FunctionName");
    std::string environments = "-";
    if (functions.size() <= kEnvironmentsAskedMax) {
      const Result<json::object> detail = get_object(session.client, function_target(name));
      if (detail.ok()) environments = environments_text(object_field(*detail, "Thaw"));
    }
    std::string runs = command_text(function);
    if (runs.size() > 40) runs = runs.substr(0, 37) + "...";
    rows.push_back({name, runs, std::to_string(count_field(function, "MemorySize")) + " MB",
                    text_field(function, "State"), environments, age_of(text_field(function, "LastModified"))});
  }
  print(format_table(rows, session.terminal));
  return {};
}

using Lines = std::vector<std::pair<std::string, std::string>>;

void append_lines(std::string& out, const Session& session, const Lines& lines) {
  std::size_t width = 0;
  for (const auto& line : lines) width = std::max(width, line.second.empty() ? 0 : line.first.size());
  for (const auto& [label, value] : lines) {
    if (value.empty()) continue;
    std::string padded = label;
    padded.append(width - label.size() + 2, ' ');
    out += session.terminal.out(Color::dim, padded) + printable(value) + "\n";
  }
}

// "12, 1 failed, since the daemon's start".
std::string restores_text(const json::object& configuration) {
  const json::object& snapshot = object_field(object_field(configuration, "Thaw"), "SnapshotState");
  const std::uint64_t failed = count_field(snapshot, "RestoresFailed");
  const std::uint64_t good = count_field(snapshot, "Restores");
  if (good + failed == 0) return "";
  return std::to_string(good) + (failed > 0 ? ", " + std::to_string(failed) + " failed" : "") +
         ", since the daemon's start";
}

// Where the model is by now: ", in memory", or how far its fetch is. Of one that is part of the package nothing is
// said.
std::string model_state(Session& session, const json::object& settings) {
  const std::string uri = text_field(object_field(settings, "Model"), "Uri");
  if (uri.find(':') == std::string::npos) return "";
  const auto answer = get_object(session.client, "/thaw/v1/models?uri=" + percent_encode(uri));
  if (!answer.ok()) return "";
  const json::value* models = answer->if_contains("Models");
  if (models == nullptr || !models->is_array() || models->get_array().empty())
    return ", not in memory: the next start fetches it";
  const json::value& first = models->get_array().front();
  if (!first.is_object()) return "";
  const json::object& model = first.get_object();
  const std::string state = text_field(model, "State");
  if (state == "ready") return ", in memory";
  if (state == "failed") return ", could not be fetched: " + text_field(model, "Error");
  const std::uint64_t bytes = std::max<std::uint64_t>(count_field(model, "Bytes"), 1);
  return ", being fetched: " + std::to_string(count_field(model, "FetchedBytes") * 100 / bytes) + " %";
}

Status describe(Session& session, const std::string& name) {
  ASSIGN_OR_RETURN(const json::object answer, get_object(session.client, function_target(name)));
  if (session.json()) {
    print_json(answer);
    return {};
  }
  const json::object& function = object_field(answer, "Configuration");
  const json::object& settings = object_field(function, "Thaw");
  const json::object& live = object_field(answer, "Thaw");
  const auto count = [](const json::object& object, const char* key, const char* unit) {
    return std::to_string(count_field(object, key)) + unit;
  };
  std::string out = session.terminal.out(Color::bold, printable(text_field(function, "FunctionName"))) + "\n\n";
  const bool published = text_field(function, "Version") != "$LATEST";
  std::string state = text_field(function, "State");
  if (const std::string why = text_field(function, "StateReason"); !why.empty()) state += ": " + why;
  Lines lines = {
      {"version", published ? text_field(function, "Version") : ""},
      {"description", text_field(function, "Description")},
      {"runs", command_text(function)},
      {"model", model_text(settings).empty() ? "" : model_text(settings) + model_state(session, settings)},
      {"state", state},
      {"snapshot", snapshot_text(function)},
      {"restores", restores_text(function)},
      {"url", text_field(settings, "Url")},
      {"", text_field(settings, "HostUrl")},
      {"memory", count(function, "MemorySize", " MB")},
      {"/tmp", count(object_field(function, "EphemeralStorage"), "Size", " MB")},
      {"timeout", count(function, "Timeout", " s, ") + count(settings, "InitTimeoutSeconds", " s to start")},
      {"readiness", takes_events(function)
                        ? ""
                        : "GET " + text_field(settings, "ReadinessPath") + " on port " + count(settings, "Port", "")},
      {"scale", "up to " + count(settings, "EnvironmentsMax", " environments, ") +
                    count(settings, "Concurrency", " at a time in each, ") + count(settings, "QueueMax", " may wait")},
      {"idle", "dropped after " + count(settings, "IdleSeconds", " s")},
      {"code", human_bytes(count_field(function, "CodeSize")) + ", sha256 " + text_field(function, "CodeSha256")},
      {"updated", text_field(function, "LastModified") + " (" + age_of(text_field(function, "LastModified")) + ")"},
      {"revision", text_field(function, "RevisionId")},
      {"arn", text_field(function, "FunctionArn")},
  };
  std::string variables;
  for (const auto& [key, value] : object_field(object_field(function, "Environment"), "Variables")) {
    // Values may be secrets; --json shows them.
    variables += (variables.empty() ? "" : ", ") + std::string(key);
    (void)value;
  }
  lines.emplace_back("variables", variables);
  lines.emplace_back("waiting", count_field(live, "Queued") > 0 ? count(live, "Queued", " invocations") : "");
  append_lines(out, session, lines);
  print(out + "\n");
  const json::value* environments = live.if_contains("Environments");
  if (environments == nullptr || !environments->is_array() || environments->get_array().empty()) {
    print("no environment: the next request starts one\n");
    return {};
  }
  std::vector<std::vector<std::string>> rows = {
      {"ENVIRONMENT", "STATE", "RUNNING", "SERVED", "AGE", "MEMORY PEAK", "INIT"}};
  for (const json::value& value : environments->get_array()) {
    if (!value.is_object()) continue;
    const json::object& environment = value.get_object();
    const json::value* id = environment.if_contains("Id");
    rows.push_back({id == nullptr     ? ""
                    : id->is_string() ? text_field(environment, "Id")
                                      : json::serialize(*id),
                    text_field(environment, "State"), count(environment, "Inflight", ""),
                    count(environment, "Invocations", ""), human_seconds(count_field(environment, "AgeSeconds")),
                    count(environment, "MemoryPeakMb", " MB"), count(environment, "InitMs", " ms")});
  }
  print(format_table(rows, session.terminal));
  return {};
}

Status confirm_delete(const Session& session, const DeleteOptions& options) {
  if (options.yes) return {};
  if (!session.terminal.err_is_terminal() || ::isatty(STDIN_FILENO) != 1) {
    return invalid_argument("nobody is there to confirm; say --yes to delete without asking");
  }
  std::string names;
  for (const std::string& name : options.names) names += (names.empty() ? "" : ", ") + printable(name);
  std::fprintf(stderr, "delete %s for good? [y/N] ", names.c_str());
  std::string answer;
  std::getline(std::cin, answer);
  if (answer != "y" && answer != "Y" && answer != "yes") return invalid_argument("nothing was deleted");
  return {};
}

Status delete_one(Session& session, const std::string& name) {
  ASSIGN_OR_RETURN(const Response response, session.client.send({.method = "DELETE", .target = function_target(name)}));
  if (!response.ok()) return with_suggestions(session.client, name, error_of(response));
  return {};
}

// The last lines of a text of whole lines.
std::string_view last_lines(std::string_view text, std::uint64_t lines) {
  if (lines == 0) return {};
  std::size_t at = text.size();
  if (text.ends_with('\n')) --at;
  while (lines > 0 && at > 0) {
    const std::size_t newline = text.rfind('\n', at - 1);
    if (newline == std::string_view::npos) return text;
    at = newline;
    --lines;
    if (lines == 0) return text.substr(at + 1);
  }
  return text;
}

// Log text on its way out: as it is into a file, harmless on a terminal, one JSON object a line with --json.
class LogPrinter {
 public:
  explicit LogPrinter(const Session& session) : session_(session) {}

  void add(std::string_view bytes) {
    if (!session_.json()) {
      print(session_.terminal.out_is_terminal() ? printable(bytes) : std::string(bytes));
      std::fflush(stdout);
      return;
    }
    pending_ += bytes;
    std::size_t at = 0;
    for (std::size_t end; (end = pending_.find('\n', at)) != std::string::npos; at = end + 1) {
      line(std::string_view(pending_).substr(at, end - at));
    }
    pending_.erase(0, at);
    if (pending_.size() > kLogTailBytesMax) flush();
    std::fflush(stdout);
  }
  void flush() {
    if (!pending_.empty()) line(pending_);
    pending_.clear();
  }

 private:
  static void line(std::string_view text) {
    // JSON is UTF-8; a function may print anything.
    const std::string message = is_valid_utf8(text) ? std::string(text) : ascii(text);
    print(json::serialize(json::value{{"Message", message}}) + "\n");
  }
  static std::string ascii(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = static_cast<unsigned char>(c) < 0x80 ? c : '?';
    return out;
  }

  const Session& session_;
  std::string pending_;
};

Status logs(Session& session, const LogsOptions& options) {
  const std::string target = "/thaw/v1/functions/" + percent_encode(options.name) + "/logs";
  ASSIGN_OR_RETURN(const Response tail,
                   session.client.send({.target = target + "?follow=0&bytes=" + std::to_string(kLogTailBytesMax)}));
  if (!tail.ok()) return with_suggestions(session.client, options.name, error_of(tail));
  const std::string_view wanted = last_lines(tail.body, options.lines);
  LogPrinter printer(session);
  if (!options.follow) {
    printer.add(wanted);
    printer.flush();
    return {};
  }
  Response failed;
  ASSIGN_OR_RETURN(static_cast<ResponseHead&>(failed),
                   session.client.stream({.target = target + "?follow=1&bytes=" + std::to_string(wanted.size())},
                                         [&](const ResponseHead& head, std::string_view bytes) -> Status {
                                           if (head.ok()) {
                                             printer.add(bytes);
                                           } else if (failed.body.size() < 65536) {
                                             failed.body += bytes;
                                           }
                                           return {};
                                         }));
  printer.flush();
  if (!failed.ok()) return error_of(failed);
  return {};
}

// "3 in 210.4 MB of 10.7 GB on disk, 1 being made".
std::string snapshots_text(const json::object& snapshots) {
  if (snapshots.empty()) return "";
  std::string text = std::to_string(count_field(snapshots, "Count")) + " in " +
                     human_bytes(count_field(snapshots, "Bytes")) + " of " +
                     human_bytes(count_field(snapshots, "BytesMax")) + " on disk";
  if (const auto pending = count_field(snapshots, "Pending"); pending > 0)
    text += ", " + std::to_string(pending) + (pending == 1 ? " version pending" : " versions pending");
  if (const auto failed = count_field(snapshots, "RestoresFailed"); failed > 0)
    text += ", " + std::to_string(failed) + " of " + std::to_string(count_field(snapshots, "Restores") + failed) +
            " restores failed";
  return text;
}

// "12 wait, 3 run, 1 dead".
std::string events_text(const json::object& events) {
  if (events.empty()) return "";
  if (!events.contains("Waiting")) return "the queue cannot be reached";
  std::string text = std::to_string(count_field(events, "Waiting")) + " wait, " +
                     std::to_string(count_field(events, "Running")) + " run";
  if (const auto dead = count_field(events, "Dead"); dead > 0) text += ", " + std::to_string(dead) + " dead";
  return text;
}

Status status(Session& session) {
  ASSIGN_OR_RETURN(const json::object answer, get_object(session.client, "/thaw/v1/status"));
  if (session.json()) {
    print_json(answer);
    return {};
  }
  const json::object& environments = object_field(answer, "Environments");
  const auto count = [&](const char* key) { return std::to_string(count_field(answer, key)); };
  std::string out = session.terminal.out(Color::green, "running") + "  thaw " +
                    printable(text_field(answer, "Version")) + " at " + printable(text_field(answer, "Listen")) +
                    "\n\n";
  append_lines(out, session,
               {{"up", human_seconds(count_field(answer, "UptimeSeconds"))},
                {"data", text_field(answer, "DataFolder")},
                {"functions", count("Functions")},
                {"environments", std::to_string(count_field(environments, "Starting")) + " starting, " +
                                     std::to_string(count_field(environments, "Busy")) + " busy, " +
                                     std::to_string(count_field(environments, "Idle")) + " idle, " +
                                     std::to_string(count_field(environments, "Frozen")) + " frozen"},
                {"waiting", count("Queued") + " invocations"},
                {"events", events_text(object_field(answer, "Events"))},
                {"memory", count("MemoryAdmittedMb") + " of " + count("MemoryMaxMb") + " MB given to environments, " +
                               count("ServerMemoryMb") + " MB used by the daemon"},
                {"snapshots", snapshots_text(object_field(answer, "Snapshots"))}});
  print(out);
  return {};
}

int finish(const Session& session, const Status& result) {
  return result.ok() ? kExitOk : report(session, result.error());
}

}  // namespace

int run_list(Session& session, const ListOptions& options) { return finish(session, list(session, options)); }

int run_describe(Session& session, const std::string& name) {
  const Status result = describe(session, name);
  return result.ok() ? kExitOk : report(session, with_suggestions(session.client, name, result.error()));
}

int run_delete(Session& session, const DeleteOptions& options) {
  if (const Status confirmed = confirm_delete(session, options); !confirmed.ok()) {
    return report(session, confirmed.error());
  }
  int exit_status = kExitOk;
  json::array deleted;
  for (const std::string& name : options.names) {
    const Status result = delete_one(session, name);
    if (!result.ok()) {
      exit_status = report(session, result.error());
      continue;
    }
    deleted.emplace_back(name);
    if (!session.json()) print(session.terminal.out(Color::green, "deleted") + " " + printable(name) + "\n");
  }
  if (session.json()) print_json({{"Deleted", deleted}});
  return exit_status;
}

int run_logs(Session& session, const LogsOptions& options) { return finish(session, logs(session, options)); }
int run_status(Session& session) { return finish(session, status(session)); }

}  // namespace thaw::cli
