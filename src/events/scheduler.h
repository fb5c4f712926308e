// Fires schedules: each puts an event into the queue when its time comes. They are those of the functions' manifests
// ([[schedules]] of thaw.toml), and those that were added through the API.
//
// A time fires once or never: that it has fired is on the disk before its event is in the queue. Times that pass while
// the daemon is away are made up for by one event when it is back, for the last of them.
//
// The file (docs/formats/schedules.md) holds the added schedules, and of all of them when they began and last fired.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"
#include "control/catalog.h"
#include "events/event_intake.h"
#include "model/schedule.h"

namespace thaw::events {

inline constexpr std::size_t kAddedSchedulesMax = 1000;

struct ScheduleView {
  std::string function;
  model::ScheduleSpec spec;
  bool added = false;        // through the API; else of the function's manifest
  std::int64_t fired_s = 0;  // since 1970, the time that it last fired for; 0: never
  std::int64_t next_s = 0;   // 0: never again, or not enabled
};

// Ownership: borrows the catalog and the intake. Threads: any; one thread of its own fires. Lock order: mutex_ before
// the catalog's own; the intake is never called with mutex_ held.
// Errors: not_found, conflict, invalid_argument (a member), overloaded (too many), those of writing the file.
class Scheduler {
 public:
  static Result<std::unique_ptr<Scheduler>> open(const std::string& path, control::Catalog& catalog,
                                                 EventIntake& intake);
  ~Scheduler() { stop(); }

  void start();
  void stop();

  // Of one function, or of all; by function and name.
  std::vector<ScheduleView> list(std::string_view function);
  // Adds it, or replaces one that was added. Another expression begins anew.
  Status put(std::string_view function, model::ScheduleSpec spec);
  Status remove(std::string_view function, std::string_view name);
  // Looks at once for what a deploy has changed.
  void look();

 private:
  struct Entry {
    std::string function;  // as it is called
    model::ScheduleSpec spec;
    bool added = false;
    std::int64_t began_s = 0;
    std::int64_t fired_s = 0;
    // Not stored.
    model::Schedule schedule;
    std::optional<std::int64_t> next_s;
  };
  struct Fire {
    Entry entry;
    std::int64_t time_s = 0;
  };
  using Key = std::pair<std::string, std::string>;  // the function in lower case, the name

  Scheduler(std::string path, control::Catalog& catalog, EventIntake& intake)
      : path_(std::move(path)), catalog_(catalog), intake_(intake) {}
  Status load();
  Status save() const;
  void work();
  // Takes over what the manifests say now.
  void sync(std::int64_t now_s);
  static void find_next(Entry& entry);
  std::vector<Fire> due(std::int64_t now_s);
  void fire(const Fire& fire);

  const std::string path_;
  control::Catalog& catalog_;
  EventIntake& intake_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_, all that follows.
  std::map<Key, Entry> entries_;
  bool stopping_ = false;
  bool look_ = true;
  bool dirty_ = false;  // the file is behind
  std::thread worker_;
};

// EventBridge's Scheduled Event, as JSON.
std::string scheduled_event(std::string_view id, std::string_view schedule_name, std::int64_t time_s);

}  // namespace thaw::events
