#include "features/materialize_jobs.h"

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>

#include "base/iso_time.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/uuid.h"

namespace thaw::features {
namespace {

namespace json = boost::json;

constexpr std::size_t kFileBytesMax = 1 << 20;
constexpr std::int64_t kYearUs = 52LL * 7 * 86'400 * 1'000'000;

std::int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

struct MaterializeJobs::Job {
  struct View {
    FeatureView view;
    MaterializeRange range;
    MaterializeProgress progress;
    std::atomic<bool> done{false};
  };
  std::string id;
  std::int64_t started_ms = 0;
  std::vector<std::unique_ptr<View>> views;
  std::atomic<bool> cancelled{false};
  // Guarded by the mutex of the jobs.
  JobState state = JobState::running;
  std::int64_t ended_ms = 0;
  std::optional<Error> error;
  std::thread thread;  // joined by who takes the job away
};

std::string_view to_string(JobState state) {
  switch (state) {
    case JobState::running:
      return "running";
    case JobState::done:
      return "done";
    case JobState::failed:
      return "failed";
    case JobState::cancelled:
      return "cancelled";
  }
  return "";
}

MaterializeJobs::MaterializeJobs(FeatureStore& store, Options options) : store_(store), options_(std::move(options)) {}

Result<std::unique_ptr<MaterializeJobs>> MaterializeJobs::open(FeatureStore& store, Options options) {
  std::unique_ptr<MaterializeJobs> jobs(new MaterializeJobs(store, std::move(options)));
  RETURN_IF_ERROR(jobs->load());
  return jobs;
}

MaterializeJobs::~MaterializeJobs() {
  std::vector<std::shared_ptr<Job>> jobs;
  {
    const std::lock_guard lock(mutex_);
    jobs = jobs_;
  }
  for (const auto& job : jobs) job->cancelled = true;
  for (const auto& job : jobs)
    if (job->thread.joinable()) job->thread.join();
}

Status MaterializeJobs::load() {
  const auto text = sys::read_file(options_.file, kFileBytesMax);
  if (!text.ok() && text.error().kind == ErrorKind::not_found) return {};
  if (!text.ok()) return text.error();
  const Error damaged{ErrorKind::corrupt, options_.file + " is damaged: remove it to materialize anew"};
  boost::system::error_code failed;
  const json::value file = json::parse(*text, failed);
  if (failed || !file.is_object()) return damaged;
  for (const auto& [view, until] : file.get_object()) {
    if (!until.is_string()) return damaged;
    const auto until_us = parse_iso_time_us(std::string_view(until.get_string()));
    if (!until_us) return damaged;
    until_us_[view] = *until_us;
  }
  return {};
}

Status MaterializeJobs::save() {
  const std::lock_guard saving(saving_);
  json::object file;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [view, until_us] : until_us_) file[view] = format_iso_time_us(until_us);
  }
  return sys::write_file_atomically(options_.file, json::serialize(file) + "\n", 0600);
}

Result<std::vector<FeatureView>> MaterializeJobs::views_of(const MaterializeRequest& request) const {
  const auto definitions = store_.definitions();
  std::vector<FeatureView> views;
  if (request.views.empty()) {
    for (const auto& [name, view] : definitions->views)
      if (view.online && view.source) views.push_back(view);
    if (views.empty()) return invalid_argument("feature_views: no feature view has a source and is online");
    return views;
  }
  for (const std::string& name : std::set<std::string>(request.views.begin(), request.views.end())) {
    const auto found = definitions->views.find(name);
    if (found == definitions->views.end())
      return Error{ErrorKind::not_found, "feature_views: there is no feature view \"" + name.substr(0, 200) + "\""};
    if (!found->second.online)
      return invalid_argument("feature_views: feature view " + name + " is not to be served online");
    if (!found->second.source)
      return invalid_argument("feature_views: feature view " + name + " has no source: its rows come by push alone");
    views.push_back(found->second);
  }
  return views;
}

Result<std::string> MaterializeJobs::start(const MaterializeRequest& request) {
  ASSIGN_OR_RETURN(std::vector<FeatureView> views, views_of(request));
  const auto job = std::make_shared<Job>();
  job->id = random_uuid();
  const std::int64_t started_us = now_us();
  job->started_ms = started_us / 1000;
  std::shared_ptr<Job> oldest;
  {
    const std::lock_guard lock(mutex_);
    if (running_ >= kMaterializeJobsRunningMax)
      return Error{ErrorKind::overloaded,
                   std::to_string(running_) + " materializations run, which is the most: wait for one"};
    for (FeatureView& view : views) {
      if (busy_views_.contains(view.name))
        return Error{ErrorKind::conflict, "feature view " + view.name + " is being materialized: wait for that job"};
      MaterializeRange range{.until_us = request.end_us};
      const auto until = until_us_.find(view.name);
      if (request.start_us) {
        range.from_us = *request.start_us;
      } else if (until != until_us_.end()) {
        range.from_us = until->second;
      } else {
        range.from_us = started_us - (view.ttl_s == 0 ? kYearUs : static_cast<std::int64_t>(view.ttl_s) * 1'000'000);
      }
      // What has been done up to there needs nothing more.
      if (!request.start_us) range.from_us = std::min(range.from_us, range.until_us);
      if (request.start_us && range.from_us >= range.until_us)
        return invalid_argument("end_ts " + format_iso_time_us(range.until_us) + " must be after start_ts " +
                                format_iso_time_us(range.from_us));
      auto one = std::make_unique<Job::View>();
      one->view = std::move(view);
      one->range = range;
      job->views.push_back(std::move(one));
    }
    for (const auto& one : job->views) busy_views_.insert(one->view.name);
    ++running_;
    if (jobs_.size() >= kMaterializeJobsKeptMax + kMaterializeJobsRunningMax) {
      const auto ended =
          std::find_if(jobs_.begin(), jobs_.end(), [](const auto& one) { return one->state != JobState::running; });
      oldest = *ended;
      jobs_.erase(ended);
    }
    jobs_.push_back(job);
    job->thread = std::thread([this, job] { run(*job); });
  }
  if (oldest) oldest->thread.join();
  return job->id;
}

void MaterializeJobs::run(Job& job) {
  Status done = run_views(job);
  const std::lock_guard lock(mutex_);
  job.state = done.ok() ? JobState::done : job.cancelled ? JobState::cancelled : JobState::failed;
  job.ended_ms = now_us() / 1000;
  if (!done.ok()) job.error = std::move(done).error();
  for (const auto& one : job.views) busy_views_.erase(one->view.name);
  --running_;
  ended_.notify_all();
}

Status MaterializeJobs::run_views(Job& job) {
  const MaterializeParts parts{options_.open_source, options_.make_spool, store_};
  for (const auto& one : job.views) {
    RETURN_IF_ERROR(materialize(one->view, one->range, parts, one->progress, job.cancelled));
    {
      const std::lock_guard lock(mutex_);
      std::int64_t& until_us = until_us_.try_emplace(one->view.name, one->range.until_us).first->second;
      until_us = std::max(until_us, one->range.until_us);
    }
    RETURN_IF_ERROR(save());
    one->done = true;
  }
  return {};
}

std::shared_ptr<MaterializeJobs::Job> MaterializeJobs::job_of(std::string_view id) const {
  for (const auto& job : jobs_)
    if (job->id == id) return job;
  return nullptr;
}

MaterializeJob MaterializeJobs::shown(const Job& job) const {
  MaterializeJob shown{
      .id = job.id, .state = job.state, .started_ms = job.started_ms, .ended_ms = job.ended_ms, .error = job.error};
  for (const auto& one : job.views) {
    shown.views.push_back({.name = one->view.name,
                           .range = one->range,
                           .rows_read = one->progress.rows_read,
                           .rows_passed_over = one->progress.rows_passed_over,
                           .rows_written = one->progress.rows_written,
                           .done = one->done});
  }
  return shown;
}

Result<MaterializeJob> MaterializeJobs::find(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  const auto job = job_of(id);
  if (!job) return Error{ErrorKind::not_found, "there is no such job of materialization"};
  return shown(*job);
}

std::vector<MaterializeJob> MaterializeJobs::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<MaterializeJob> all;
  for (auto job = jobs_.rbegin(); job != jobs_.rend(); ++job) all.push_back(shown(**job));
  return all;
}

Status MaterializeJobs::cancel(std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto job = job_of(id);
  if (!job) return Error{ErrorKind::not_found, "there is no such job of materialization"};
  job->cancelled = true;
  return {};
}

void MaterializeJobs::cancel_all() {
  const std::lock_guard lock(mutex_);
  for (const auto& job : jobs_) job->cancelled = true;
}

Status MaterializeJobs::wait(std::string_view id) {
  std::unique_lock lock(mutex_);
  const auto job = job_of(id);
  if (!job) return Error{ErrorKind::not_found, "there is no such job of materialization"};
  ended_.wait(lock, [&] { return job->state != JobState::running; });
  if (job->error) return *job->error;
  return {};
}

Status MaterializeJobs::forget(const std::string& view) {
  {
    const std::lock_guard lock(mutex_);
    if (until_us_.erase(view) == 0) return {};
  }
  return save();
}

}  // namespace thaw::features
