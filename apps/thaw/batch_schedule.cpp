// `thaw batch --schedule`: the same batch again and again, in the foreground, as a systemd unit runs it.
#include <signal.h>

#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <thread>

#include "api.h"
#include "batch_job.h"
#include "batch_sources.h"
#include "batch_timetable.h"
#include "interrupt.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr std::chrono::milliseconds kLookEvery{200};
constexpr std::string_view kTimePlace = "{time}";

std::int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string formatted(std::int64_t time_s, const char* format) {
  const auto time = static_cast<std::time_t>(time_s);
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  char text[64];
  std::strftime(text, sizeof text, format, &utc);
  return text;
}

Status check(const BatchOptions& options) {
  if (options.input == "-") return invalid_argument("--schedule: standard input can be read once only");
  const bool names_time = options.output.find(kTimePlace) != std::string::npos;
  if (is_database(options.output)) return {};
  if (!names_time) return invalid_argument("--schedule needs --output with {time} in the file's name, or a database");
  if (options.resume || options.restart)
    return invalid_argument("--resume and --restart: with {time} in --output each run has a file of its own");
  return {};
}

// One line, for a person or a program: standard error is a unit's log.
void tell(const Session& session, std::int64_t time_s, const std::string& word, const std::string& text,
          json::object fields) {
  if (session.json()) {
    fields["Time"] = utc_text(time_s);
    fields["Run"] = word;
    if (!text.empty() && !fields.contains("Ok")) fields["Message"] = text;
    std::printf("%s\n", json::serialize(fields).c_str());
    std::fflush(stdout);
  } else {
    std::fprintf(stderr, "%s %s%s%s\n", utc_text(time_s).c_str(), word.c_str(), text.empty() ? "" : ": ",
                 printable(text).c_str());
  }
}

class ScheduledBatch {
 public:
  ScheduledBatch(Session& session, const BatchOptions& options, BatchTimetable timetable)
      : session_(session), options_(options), timetable_(std::move(timetable)) {}

  int run() {
    const InterruptGuard guard;
    while (const std::optional<std::int64_t> next = timetable_.next_s()) {
      if (!announced_) tell(session_, now_s(), "waiting", "the first run is at " + utc_text(*next), {});
      announced_ = true;
      while (!timetable_.take_due(now_s())) {
        if (const int signal = InterruptGuard::signal_seen(); signal != 0) return status_of(signal);
        std::this_thread::sleep_for(kLookEvery);
      }
      if (const int signal = run_once(*next); signal != 0) return status_of(signal);
    }
    tell(session_, now_s(), "over", "the schedule has no more times", {});
    return kExitOk;
  }

 private:
  // A service that is told to end has done well.
  static int status_of(int signal) { return signal == SIGTERM ? kExitOk : kExitInterrupted; }

  // The signal that ended it; 0 when none did.
  int run_once(std::int64_t time_s) {
    BatchOptions options = options_;
    options.output = with_time(options.output, time_s);
    Result<BatchJob> job = prepare_batch(session_, options);
    if (!job.ok()) {
      tell(session_, time_s, "failed", job.error().message, {});
      return InterruptGuard::signal_seen();
    }
    const BatchEnd end = run_job(session_, options, *job, [&]() -> std::string {
      const std::int64_t now = now_s();
      if (!timetable_.take_due(now)) return {};
      if (session_.json()) {
        tell(session_, now, "skipped", "the run of " + utc_text(time_s) + " still goes on", {});
        return {};
      }
      return utc_text(now) + " skipped: the run of " + utc_text(time_s) + " still goes on\n";
    });
    json::object fields = summary_json(end);
    fields["Output"] = options.output;
    std::string text = summary_of(end);
    if (end.error) {
      fields["Message"] = end.error->message;
      text += "; " + end.error->message;
    }
    tell(session_, time_s, word_of(end), text, std::move(fields));
    return end.signal;
  }

  Session& session_;
  const BatchOptions& options_;
  BatchTimetable timetable_;
  bool announced_ = false;
};

}  // namespace

std::string utc_text(std::int64_t time_s) { return formatted(time_s, "%Y-%m-%dT%H:%M:%SZ"); }
std::string utc_file_text(std::int64_t time_s) { return formatted(time_s, "%Y%m%dT%H%M%SZ"); }

std::string with_time(std::string text, std::int64_t time_s) {
  const std::string time = utc_file_text(time_s);
  for (std::size_t at = text.find(kTimePlace); at != std::string::npos; at = text.find(kTimePlace, at + time.size()))
    text.replace(at, kTimePlace.size(), time);
  return text;
}

int run_scheduled_batch(Session& session, const BatchOptions& options) {
  if (const Status checked = check(options); !checked.ok()) return report(session, checked.error());
  const Result<model::Schedule> schedule = model::Schedule::parse(options.schedule);
  if (!schedule.ok()) return report(session, invalid_argument("--schedule: " + schedule.error().message));
  return ScheduledBatch(session, options, BatchTimetable(*schedule, now_s())).run();
}

}  // namespace thaw::cli
