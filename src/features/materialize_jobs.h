// Materializations that run beside the daemon's other work, and how far each has come.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "features/feature_store.h"
#include "features/materialize.h"

namespace thaw::features {

inline constexpr std::size_t kMaterializeJobsRunningMax = 4;
inline constexpr std::size_t kMaterializeJobsKeptMax = 100;  // that have ended; the oldest go

struct MaterializeRequest {
  // Nothing: incrementally, from where the last materialization of a view has ended; before the first from its time to
  // live ago, a year of 52 weeks where it has none.
  std::optional<std::int64_t> start_us;
  std::int64_t end_us = 0;         // not within
  std::vector<std::string> views;  // none: all that have a source and are online
};

enum class JobState : std::uint8_t { running, done, failed, cancelled };

struct MaterializeView {
  std::string name;
  MaterializeRange range;
  std::uint64_t rows_read = 0;
  std::uint64_t rows_passed_over = 0;
  std::uint64_t rows_written = 0;
  bool done = false;
};

struct MaterializeJob {
  std::string id;
  JobState state = JobState::running;
  std::int64_t started_ms = 0;
  std::int64_t ended_ms = 0;  // 0: it runs
  std::vector<MaterializeView> views;
  std::optional<Error> error;
};

// Ownership: borrows the store, which outlives it. Threads: any; each job has one of its own. The end of this cancels
// what runs, and waits for it. What a job has come to is kept in memory alone; until when a view was materialized, in a
// file: it is written when the view is done.
class MaterializeJobs {
 public:
  struct Options {
    std::string file;  // DATA/features/materialized.json
    OpenSource open_source;
    ports::MakeRowSpool make_spool;
  };

  // Errors: corrupt names the file.
  static Result<std::unique_ptr<MaterializeJobs>> open(FeatureStore& store, Options options);
  ~MaterializeJobs();

  // The job's id. Errors: invalid_argument, not_found (views), conflict (a view is being materialized), overloaded.
  Result<std::string> start(const MaterializeRequest& request);
  Result<MaterializeJob> find(std::string_view id) const;
  // The last started first.
  std::vector<MaterializeJob> list() const;
  // It ends soon. Of one that has ended nothing changes.
  Status cancel(std::string_view id);
  void cancel_all();
  // Until it has ended; its error.
  Status wait(std::string_view id);
  // After the rows of a view went: the next incremental materialization begins anew.
  Status forget(const std::string& view);

 private:
  struct Job;
  MaterializeJobs(FeatureStore& store, Options options);

  Status load();
  Status save();
  Result<std::vector<FeatureView>> views_of(const MaterializeRequest& request) const;
  void run(Job& job);
  Status run_views(Job& job);
  std::shared_ptr<Job> job_of(std::string_view id) const;
  MaterializeJob shown(const Job& job) const;

  FeatureStore& store_;
  const Options options_;
  std::mutex saving_;  // the file; before mutex_
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  // All guarded by mutex_.
  std::vector<std::shared_ptr<Job>> jobs_;  // in the order of their start
  std::set<std::string> busy_views_;
  std::map<std::string, std::int64_t> until_us_;  // of each view
  std::size_t running_ = 0;
};

std::string_view to_string(JobState state);

}  // namespace thaw::features
