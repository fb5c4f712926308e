// `thaw batch`: a function over many inputs.
#include <sys/stat.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <ctime>

#include "api.h"
#include "batch_job.h"
#include "batch_sources.h"
#include "batch_timetable.h"
#include "commands.h"
#include "interrupt.h"
#include "invoke_target.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRedrawEvery{100};

std::string counted(std::uint64_t count, const char* what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

Result<BatchTarget> target_of(Session& session, const BatchOptions& options) {
  BatchTarget target;
  target.content_type = options.content_type;
  target.timeout = std::chrono::seconds(options.timeout_s);
  target.retries = options.retries;
  if (options.content_type.find_first_of("\r\n") != std::string::npos)
    return invalid_argument("--content-type: a header is one line");
  const Result<json::object> found = get_object(session.client, function_target(options.name));
  // Who may call a function need not be allowed to look at it.
  if (!found.ok() && found.error().kind != ErrorKind::forbidden)
    return with_suggestions(session.client, options.name, found.error());
  if (!found.ok() && found.error().code.starts_with("Client.")) return found.error();
  target.takes_events = found.ok() && takes_events(object_field(*found, "Configuration"));
  if (!target.takes_events) {
    target.method = options.method.value_or("POST");
    target.target = web_target(options.name, options.path.value_or("/"), {});
    return target;
  }
  if (options.path || options.method)
    return invalid_argument(options.name + " takes events: --path and --method belong to functions that answer HTTP");
  target.target = event_target(options.name);
  return target;
}

Result<std::unique_ptr<BatchSource>> source_of(const Session& session, const BatchOptions& options) {
  const TableInput table{options.input, options.table, options.query, options.id_field};
  if (is_database(options.input)) {
    if (!options.include.empty()) return invalid_argument("--include is for folders");
    return open_table_source(table);
  }
  if (!options.table.empty() || !options.query.empty())
    return invalid_argument("--table and --query are for databases: sqlite:PATH and postgresql://…");
  if (options.input == "-") {
    if (!options.include.empty()) return invalid_argument("--include is for folders");
    return open_lines_source({.path = "/dev/stdin", .id_field = options.id_field});
  }
  struct stat info {};
  if (::stat(options.input.c_str(), &info) != 0)
    return Error{ErrorKind::not_found, "--input " + options.input + ": no such folder or file"};
  if (S_ISDIR(info.st_mode)) {
    if (!options.id_field.empty())
      return invalid_argument("--id-field is for lines; a file's id is its path below the folder");
    return open_folder_source({.folder = options.input,
                               .include = options.include,
                               .count = session.terminal.err_is_terminal(),
                               .except = options.output});
  }
  if (!options.include.empty()) return invalid_argument("--include is for folders");
  if (options.input.ends_with(".csv")) return open_table_source(table);
  if (options.input.ends_with(".jsonl") || options.input.ends_with(".ndjson"))
    return open_lines_source({.path = options.input, .id_field = options.id_field});
  return invalid_argument("--input " + options.input +
                          ": is neither a folder, nor a .jsonl or .csv file, nor sqlite:PATH or "
                          "postgresql://…");
}

Result<OpenedOutput> output_of(const BatchOptions& options) {
  if (options.output.empty() && options.resume)
    return invalid_argument("--resume needs --output: standard output cannot be read back");
  if (options.output.empty()) {
    OpenedOutput opened;
    opened.output = standard_output();
    return opened;
  }
  const ExistingOutput existing = options.resume    ? ExistingOutput::resume
                                  : options.restart ? ExistingOutput::restart
                                                    : ExistingOutput::refuse;
  const ExistingOutput existing_table =
      existing == ExistingOutput::refuse && !options.schedule.empty() ? ExistingOutput::overwrite : existing;
  if (is_database(options.output))
    return open_table_output(table_target(options.output, options.output_table), existing_table, options.retries);
  if (!options.output_table.empty())
    return invalid_argument("--output-table is for databases: sqlite:PATH and postgresql://…");
  return open_lines_output(options.output, existing);
}

// The line on the terminal while a run goes on.
class Progress {
 public:
  Progress(const Session& session, const BatchSource& source, const BatchOptions& options)
      : session_(session), source_(source), options_(options), line_(session.terminal) {}

  // A line of text above it.
  void note(const std::string& text) {
    line_.clear();
    std::fputs(text.c_str(), stderr);
  }

  void show(const BatchCounts& counts, const std::string& waits) {
    const Clock::time_point now = Clock::now();
    if (!session_.terminal.err_is_terminal() || now - drawn_ < kRedrawEvery) return;
    drawn_ = now;
    const double seconds = std::chrono::duration<double>(now - started_).count();
    const std::uint64_t tried = counts.ok + counts.failed;
    const double rate = seconds > 0 ? static_cast<double>(tried) / seconds : 0;
    std::string text = options_.name + "  ";
    const std::optional<double> share = share_of(counts);
    // Of a narrow terminal the words need the room.
    if (share && waits.empty()) text += bar(*share);
    text += std::to_string(counts.done()) + " done";
    if (counts.failed > 0) text += ", " + std::to_string(counts.failed) + " failed";
    if (counts.skipped > 0) text += ", " + std::to_string(counts.skipped) + " from before";
    char number[32];
    std::snprintf(number, sizeof number, rate < 10 ? "  %.1f/s" : "  %.0f/s", rate);
    text += number;
    if (tried == 0) {
      // What was skipped took no time: what is left is judged by what is tried from here on.
      share_before_ = share.value_or(0);
    } else if (share && *share > share_before_ && *share < 1 && seconds > 1) {
      const double left = seconds * (1 - *share) / (*share - share_before_);
      text += "  " + human_seconds(static_cast<std::uint64_t>(left) + 1) + " left";
    }
    if (!waits.empty()) text += "  " + waits;
    line_.show(text);
  }

 private:
  std::optional<double> share_of(const BatchCounts& counts) const {
    std::optional<double> read = source_.share_read();
    // What was read ahead is not done yet.
    if (read && counts.taken > 0) *read *= static_cast<double>(counts.done()) / static_cast<double>(counts.taken);
    if (!options_.limit || *options_.limit == 0) return read;
    const double limited = static_cast<double>(counts.done()) / static_cast<double>(*options_.limit);
    return std::clamp(std::max(read.value_or(0), limited), 0.0, 1.0);
  }

  static std::string bar(double share) {
    constexpr std::size_t kWidth = 20;
    const auto full = static_cast<std::size_t>(share * kWidth);
    std::string text = "[" + std::string(full, '=');
    if (full < kWidth) text += ">" + std::string(kWidth - full - 1, ' ');
    return text + "]  " + std::to_string(static_cast<int>(share * 100)) + " %  ";
  }

  const Session& session_;
  const BatchSource& source_;
  const BatchOptions& options_;
  StatusLine line_;
  Clock::time_point started_ = Clock::now();
  Clock::time_point drawn_{};
  double share_before_ = 0;
};

// What the caller does about what is missing.
std::string advice_of(const BatchOptions& options) {
  return options.output.empty() ? "with --output FILE a batch can be resumed"
                                : "the same command with --resume goes on, and tries again what failed";
}

int tell_end(const Session& session, const BatchOptions& options, const BatchEnd& end) {
  const bool all_well = !end.error && end.signal == 0 && end.counts.failed == 0;
  if (session.json()) {
    // Standard output is the outcomes' where no file is.
    std::fprintf(options.output.empty() ? stderr : stdout, "%s\n", json::serialize(summary_json(end)).c_str());
  } else {
    std::fprintf(stderr, "%s %s\n", session.terminal.err(all_well ? Color::green : Color::red, word_of(end)).c_str(),
                 summary_of(end).c_str());
  }
  if (end.error) (void)report(session, *end.error);
  if (!all_well && !session.json()) std::fprintf(stderr, "%s\n", advice_of(options).c_str());
  if (end.signal != 0) return kExitInterrupted;
  return all_well ? kExitOk : kExitError;
}

}  // namespace

std::string summary_of(const BatchEnd& end) {
  const std::uint64_t tried = end.counts.ok + end.counts.failed;
  std::string text = counted(tried, "input") + " in " +
                     human_seconds(static_cast<std::uint64_t>(end.took.count() / 1000)) + ": " +
                     std::to_string(end.counts.ok) + " ok, " + std::to_string(end.counts.failed) + " failed";
  if (end.counts.skipped > 0) text += "; " + std::to_string(end.counts.skipped) + " were finished before";
  return text;
}

json::object summary_json(const BatchEnd& end) {
  return {{"Ok", end.counts.ok},
          {"Failed", end.counts.failed},
          {"FinishedBefore", end.counts.skipped},
          {"DurationMs", end.took.count()},
          {"Interrupted", end.signal != 0}};
}

const char* word_of(const BatchEnd& end) { return end.signal != 0 ? "interrupted" : end.error ? "stopped" : "done"; }

Result<BatchJob> prepare_batch(Session& session, const BatchOptions& options) {
  BatchJob job;
  ASSIGN_OR_RETURN(job.target, target_of(session, options));
  ASSIGN_OR_RETURN(job.source, source_of(session, options));
  ASSIGN_OR_RETURN(job.opened, output_of(options));
  return job;
}

BatchEnd run_job(Session& session, const BatchOptions& options, const BatchJob& job,
                 const std::function<std::string()>& tick) {
  Progress progress(session, *job.source, options);
  return run_batch_once({.source = job.source,
                         .finished = job.opened.finished,
                         .output = *job.opened.output,
                         .endpoint = session.client.endpoint(),
                         .target = job.target,
                         .concurrency = options.concurrency,
                         .limit = options.limit,
                         .on_progress =
                             [&](const BatchCounts& counts, const std::string& waits) {
                               if (const std::string text = tick(); !text.empty()) progress.note(text);
                               progress.show(counts, waits);
                             },
                         .on_interrupt =
                             [&] {
                               if (!session.terminal.err_is_terminal()) return;
                               progress.note("waiting for what is under way; ctrl-C again lets go of it\n");
                             }});
}

int run_batch(Session& session, const BatchOptions& options) {
  if (!options.schedule.empty()) return run_scheduled_batch(session, options);
  if (options.resume && options.output.find("{time}") != std::string::npos)
    return report(session, invalid_argument("--resume: name the file itself; {time} in --output is another one now"));
  BatchOptions now = options;
  now.output = with_time(options.output, std::time(nullptr));
  const Result<BatchJob> job = prepare_batch(session, now);
  if (!job.ok()) return report(session, job.error());
  BatchEnd end;
  {
    const InterruptGuard guard;
    end = run_job(session, now, *job, [] { return std::string(); });
  }
  return tell_end(session, now, end);
}

}  // namespace thaw::cli
