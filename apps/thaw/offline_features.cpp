#include "offline_features.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <boost/json/array.hpp>
#include <cstdio>

#include "api.h"
#include "base/iso_time.h"
#include "base/sys.h"
#include "interrupt.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr const char* kTarget = "/thaw/v1/features";
constexpr int kPollMs = 200;

constexpr const char* kTimes =
    "Times are ISO 8601, like 2026-01-31T12:00:00+01:00; without a zone they are UTC. START is within, END is not.";

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

std::string now_text() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return format_iso_time_us(std::int64_t{now.tv_sec} * 1'000'000);
}

Error interrupted_error(std::string message) {
  return {ErrorKind::unavailable, std::move(message), "Client.Interrupted"};
}

std::vector<json::object> views_of(const json::object& job) {
  std::vector<json::object> views;
  const json::value* items = job.if_contains("Views");
  if (items == nullptr || !items->is_array()) return views;
  for (const json::value& item : items->get_array())
    if (item.is_object()) views.push_back(item.get_object());
  return views;
}

bool is_done(const json::object& view) {
  const json::value* done = view.if_contains("Done");
  return done != nullptr && done->is_bool() && done->get_bool();
}

// Of the view that is under way.
std::string progress_text(const json::object& job) {
  const std::vector<json::object> views = views_of(job);
  std::size_t done = 0;
  while (done < views.size() && is_done(views[done])) ++done;
  if (done == views.size()) return "Materializing";
  const json::object& view = views[done];
  std::string text = "Materializing " + printable(text_field(view, "Name"));
  if (views.size() > 1) text += " (" + std::to_string(done + 1) + " of " + std::to_string(views.size()) + ")";
  return text + ": " + std::to_string(count_field(view, "RowsRead")) + " rows read, " +
         std::to_string(count_field(view, "RowsWritten")) + " written";
}

// Waits for the job; ctrl-C cancels it.
Result<json::object> follow(Session& session, json::object job) {
  const std::string target = std::string(kTarget) + "/jobs/" + percent_encode(text_field(job, "Id"));
  StatusLine line(session.terminal);
  const InterruptGuard guard;
  bool cancelled = false;
  while (text_field(job, "State") == "running") {
    line.show(progress_text(job));
    if (!cancelled && InterruptGuard::signal_seen() != 0) {
      ASSIGN_OR_RETURN(const Response response, session.client.send({.method = "DELETE", .target = target}));
      if (!response.ok()) return error_of(response);
      cancelled = true;
    }
    ::poll(nullptr, 0, kPollMs);
    ASSIGN_OR_RETURN(job, get_object(session.client, target));
  }
  if (text_field(job, "State") == "cancelled" && cancelled)
    return interrupted_error("interrupted; what was written stays, and the next time begins where this one did");
  return job;
}

void print_job(const json::object& job) {
  for (const json::object& view : views_of(job)) {
    if (!is_done(view)) continue;
    std::string text = printable(text_field(view, "Name")) + ": " + std::to_string(count_field(view, "RowsWritten")) +
                       " entities written, of " + std::to_string(count_field(view, "RowsRead")) + " rows from " +
                       text_field(view, "Start") + " to " + text_field(view, "End");
    const std::uint64_t passed_over = count_field(view, "RowsPassedOver");
    if (passed_over > 0) text += "; " + std::to_string(passed_over) + " without a time or an entity passed over";
    print(text + "\n");
  }
}

Status materialize(Session& session, bool incremental, const MaterializeOptions& options) {
  json::object body{{"end_ts", options.end.empty() ? now_text() : options.end}};
  if (!incremental) body["start_ts"] = options.start.empty() ? "0001-01-01T00:00:00Z" : options.start;
  json::array views(options.views.begin(), options.views.end());
  if (!views.empty()) body["feature_views"] = std::move(views);
  ASSIGN_OR_RETURN(json::object job, send_json(session.client, "POST", std::string(kTarget) + "/materialize", body));
  ASSIGN_OR_RETURN(job, follow(session, std::move(job)));
  if (session.json()) {
    print_json(job);
  } else {
    print_job(job);
  }
  if (text_field(job, "State") == "done") return {};
  return Error{ErrorKind::unavailable, text_field(object_field(job, "Error"), "Message")};
}

Status jobs(Session& session) {
  ASSIGN_OR_RETURN(const json::object answer, get_object(session.client, std::string(kTarget) + "/jobs"));
  if (session.json()) {
    print_json(answer);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"JOB", "VIEW", "STATE", "STARTED", "READ", "WRITTEN"}};
  const json::value* items = answer.if_contains("Jobs");
  if (items == nullptr || !items->is_array())
    return Error{ErrorKind::internal, "the answer has another shape than expected: is this a thaw daemon?"};
  for (const json::value& item : items->get_array()) {
    if (!item.is_object()) continue;
    const json::object& job = item.get_object();
    for (const json::object& view : views_of(job)) {
      rows.push_back({text_field(job, "Id"), text_field(view, "Name"),
                      is_done(view) ? "done" : text_field(job, "State"), text_field(job, "Started"),
                      std::to_string(count_field(view, "RowsRead")), std::to_string(count_field(view, "RowsWritten"))});
    }
  }
  print(rows.size() == 1 ? "no jobs\n" : format_table(rows, session.terminal));
  return {};
}

// A file, or standard output.
struct OutputFile {
  UniqueFd owned;
  Status write(std::string_view bytes) {
    if (owned.valid()) return sys::write_all(owned, bytes);
    if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size()) return {};
    return sys::errno_error("standard output");
  }
};

std::string historical_target(const HistoricalOptions& options) {
  std::string features;
  for (const std::string& one : options.features) features += (features.empty() ? "" : ",") + one;
  std::string target =
      std::string(kTarget) + "/historical?full_feature_names=" + (options.full_feature_names ? "1" : "0");
  if (!features.empty()) target += "&features=" + percent_encode(features);
  if (!options.service.empty()) target += "&feature_service=" + percent_encode(options.service);
  return target;
}

Status historical(Session& session, const HistoricalOptions& options) {
  ASSIGN_OR_RETURN(const UniqueFd entities, sys::open(options.entities, O_RDONLY));
  struct stat info {};
  if (::fstat(entities.get(), &info) != 0) return sys::errno_error(options.entities);
  if (!S_ISREG(info.st_mode)) return invalid_argument(options.entities + " is no file");
  Request request{.method = "POST", .target = historical_target(options), .headers = {{"Content-Type", "text/csv"}}};
  request.body_bytes = static_cast<std::uint64_t>(info.st_size);
  std::uint64_t left = *request.body_bytes;
  request.body = [&](std::span<char> into) -> Result<std::size_t> {
    if (left == 0) return std::size_t{0};
    ASSIGN_OR_RETURN(const std::size_t got,
                     sys::read_some(entities, into.first(std::min<std::uint64_t>(into.size(), left))));
    if (got == 0) return Error{ErrorKind::conflict, "the file has become shorter meanwhile"};
    left -= got;
    return got;
  };
  request.keep_going = []() -> Status {
    if (InterruptGuard::signal_seen() != 0) return interrupted_error("interrupted");
    return {};
  };
  const std::string beside = options.output + ".part";
  OutputFile output;
  Response failed;
  StatusLine line(session.terminal);
  line.show("Joining the features of " + printable(options.entities));
  const InterruptGuard guard;
  auto head = session.client.stream(request, [&](const ResponseHead& response, std::string_view bytes) -> Status {
    if (!response.ok()) {
      failed.status = response.status;
      failed.headers = response.headers;
      if (failed.body.size() < kCollectedBodyBytesMax) failed.body += bytes;
      return {};
    }
    line.clear();
    if (!options.output.empty() && !output.owned.valid()) {
      ASSIGN_OR_RETURN(output.owned, sys::open(beside, O_WRONLY | O_CREAT | O_TRUNC, 0666));
    }
    return output.write(bytes);
  });
  line.clear();
  Status done;
  if (!head.ok()) {
    done = std::move(head).error();
  } else if (!head->ok()) {
    done = error_of(failed);
  } else if (!options.output.empty() && ::rename(beside.c_str(), options.output.c_str()) != 0) {
    done = sys::errno_error(options.output);
  }
  if (!done.ok() && output.owned.valid()) (void)sys::remove_tree(beside).ok();
  return done;
}

}  // namespace

bool is_offline_features(const CLI::App& features) {
  const std::string subcommand = features.get_subcommands().front()->get_name();
  return subcommand == "materialize" || subcommand == "materialize-incremental" || subcommand == "jobs" ||
         subcommand == "historical";
}

void add_offline_features(CLI::App& features, OfflineFeaturesOptions& options) {
  MaterializeOptions& materialize = options.materialize;
  CLI::App* command = features.add_subcommand("materialize", "Write the latest rows of sources to the online store");
  command->footer(kTimes);
  command->add_option("VIEW", materialize.views, "Feature views (default: all that have a source)")->option_text(" ");
  command->add_option("--start", materialize.start, "Rows from then on (default: all)")->option_text("START");
  command->add_option("--end", materialize.end, "Rows before then (default: now)")->option_text("END");
  command = features.add_subcommand("materialize-incremental", "The same, from where the last time ended");
  command->footer(kTimes);
  command->add_option("END", materialize.end, "Rows before then")->required()->option_text(" ");
  command->add_option("VIEW", materialize.views, "Feature views (default: all that have a source)")->option_text(" ");
  features.add_subcommand("jobs", "List materializations that run or have ended")->footer("");
  HistoricalOptions& historical = options.historical;
  command = features.add_subcommand("historical", "What features were at times of the past, as CSV");
  command->footer(
      "The file of entities is CSV with the entity keys, event_timestamp, and any other columns.\n"
      "Example: thaw features historical --entities rides.csv --features drivers:conv_rate --output train.csv");
  command->add_option("--entities", historical.entities, "CSV file of entities and times")
      ->required()
      ->option_text("FILE");
  CLI::Option* list = command->add_option("--features", historical.features, "VIEW:FEATURE, with ',' between them")
                          ->delimiter(',')
                          ->option_text("LIST");
  command->add_option("--service", historical.service, "The features of a feature service")
      ->excludes(list)
      ->option_text("NAME");
  command->add_option("--output", historical.output, "File to write (default: standard output)")->option_text("FILE");
  command->add_flag("--full-names", historical.full_feature_names, "Call columns VIEW__FEATURE");
  for (const char* name : {"materialize", "materialize-incremental", "jobs", "historical"})
    features.get_subcommand(name)->group("Sources");
}

int run_offline_features(Session& session, const CLI::App& features, const OfflineFeaturesOptions& options) {
  const std::string subcommand = features.get_subcommands().front()->get_name();
  const Status done = subcommand == "jobs" ? jobs(session)
                      : subcommand == "historical"
                          ? historical(session, options.historical)
                          : materialize(session, subcommand == "materialize-incremental", options.materialize);
  if (done.ok()) return kExitOk;
  const int status = report(session, done.error());
  return done.error().code == "Client.Interrupted" ? kExitInterrupted : status;
}

}  // namespace thaw::cli
