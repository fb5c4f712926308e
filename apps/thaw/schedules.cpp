// `thaw schedule`.
#include <boost/json/array.hpp>
#include <cstdio>
#include <ctime>

#include "api.h"
#include "commands.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr const char* kTarget = "/thaw/v1/schedules";

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// "2026-01-31 12:00:00", in UTC; "-" for 0.
std::string time_text(std::uint64_t seconds) {
  if (seconds == 0) return "-";
  const auto time = static_cast<std::time_t>(seconds);
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  char text[64];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &utc);
  return text;
}

std::string target_of(const std::string& function, const std::string& schedule) {
  return std::string(kTarget) + "/" + percent_encode(function) + "/" + percent_encode(schedule);
}

Status add(Session& session, const ScheduleOptions& options) {
  const std::size_t colon = options.name.find(':');
  json::object body{{"Expression", options.expression}, {"Enabled", !options.disabled}};
  if (colon != std::string::npos) body["Qualifier"] = options.name.substr(colon + 1);
  if (!options.input.empty()) body["Input"] = options.input;
  ASSIGN_OR_RETURN(const json::object schedule,
                   send_json(session.client, "PUT", target_of(options.name.substr(0, colon), options.schedule), body));
  if (session.json()) {
    print_json(schedule);
    return {};
  }
  const std::uint64_t next = count_field(schedule, "Next");
  print(printable(options.schedule) + " of " + printable(options.name) + " fires " +
        (next == 0 ? "never" : "next at " + time_text(next) + " UTC") + "\n");
  return {};
}

Status list(Session& session, const ScheduleOptions& options) {
  const std::string query = options.name.empty() ? "" : "?FunctionName=" + percent_encode(options.name);
  ASSIGN_OR_RETURN(const json::object answer, get_object(session.client, kTarget + query));
  if (session.json()) {
    print_json(answer);
    return {};
  }
  const json::value* items = answer.if_contains("Schedules");
  if (items == nullptr || !items->is_array())
    return Error{ErrorKind::internal, "the answer has another shape than expected: is this a thaw daemon?"};
  std::vector<std::vector<std::string>> rows = {
      {"FUNCTION", "SCHEDULE", "EXPRESSION", "LAST (UTC)", "NEXT (UTC)", "FROM"}};
  for (const json::value& item : items->get_array()) {
    if (!item.is_object()) continue;
    const json::object& one = item.get_object();
    const std::string qualifier = text_field(one, "Qualifier");
    const json::value* enabled = one.if_contains("Enabled");
    const bool off = enabled != nullptr && enabled->is_bool() && !enabled->get_bool();
    rows.push_back({text_field(one, "FunctionName") + (qualifier.empty() ? "" : ":" + qualifier),
                    text_field(one, "Name"), text_field(one, "Expression"), time_text(count_field(one, "LastFired")),
                    off ? "disabled" : time_text(count_field(one, "Next")),
                    text_field(one, "Source") == "manifest" ? "thaw.toml" : "added"});
  }
  print(rows.size() == 1 ? "no schedules\n" : format_table(rows, session.terminal));
  return {};
}

Status remove(Session& session, const ScheduleOptions& options) {
  ASSIGN_OR_RETURN(const Response response,
                   session.client.send({.method = "DELETE", .target = target_of(options.name, options.schedule)}));
  if (!response.ok()) return error_of(response);
  if (session.json()) {
    print_json({{"Deleted", json::array{options.schedule}}});
    return {};
  }
  print(session.terminal.out(Color::green, "deleted") + " " + printable(options.schedule) + " of " +
        printable(options.name) + "\n");
  return {};
}

}  // namespace

int run_schedule(Session& session, ScheduleAction action, const ScheduleOptions& options) {
  const Status done = action == ScheduleAction::add    ? add(session, options)
                      : action == ScheduleAction::list ? list(session, options)
                                                       : remove(session, options);
  return done.ok() ? kExitOk : report(session, done.error());
}

}  // namespace thaw::cli
